#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>

#include <nlohmann/json.hpp>
#include <nvfp4/checkpoint.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/version.hpp>

namespace nvfp4 {
namespace {

using io::ArrayInfo;
using io::ElementType;

enum class Part : std::uint8_t { copied, codes, scales, global };

struct Planned {
  ArrayInfo output;
  Part part;
  const ArrayInfo* input;
};

bool matches_any(std::string_view name, const std::vector<std::string>& globs) {
  return std::any_of(globs.begin(), globs.end(),
                     [&](const std::string& glob) { return matches_glob(name, glob); });
}

bool is_quantizable(const ArrayInfo& t) {
  const bool floating =
      t.type == ElementType::f32 || t.type == ElementType::f16 || t.type == ElementType::bf16;
  return floating && t.shape.size() == 2 && t.shape[0] > 0 && t.shape[1] > 0 && t.shape[1] % 16 == 0;
}

bool is_selected(const ArrayInfo& t, const CheckpointOptions& options) {
  return is_quantizable(t) && matches_any(t.name, options.include) && !matches_any(t.name, options.exclude);
}

ArrayInfo output_of(const ArrayInfo& t, Part part) {
  const std::int64_t n = t.shape.at(0), k = t.shape.at(1);
  switch (part) {
    case Part::copied: break;
    case Part::codes: return {t.name, ElementType::u8, {n, k / 2}};
    case Part::scales: return {t.name + "_scale", ElementType::f8_e4m3, {n, k / 16}};
    case Part::global: return {t.name + "_scale_2", ElementType::f32, {}};
  }
  return t;
}

void plan_tensor(const ArrayInfo& t, const CheckpointOptions& options, std::vector<Planned>& plan) {
  if (!is_selected(t, options)) {
    plan.push_back({t, Part::copied, &t});
    return;
  }
  for (const Part part : {Part::global, Part::codes, Part::scales})
    plan.push_back({output_of(t, part), part, &t});
}

void refuse_collisions(const std::vector<Planned>& plan) {
  std::set<std::string_view> names;
  for (const Planned& p : plan)
    if (!names.insert(p.output.name).second)
      throw std::invalid_argument("tensor '" + p.output.name +
                                  "' would be written twice: is the checkpoint quantized already?");
}

std::int64_t bytes_of(const ArrayInfo& t) { return static_cast<std::int64_t>(byte_size(t)); }

/// Wide elements come first, so that with no holes between tensors each is aligned. The parts of a
/// quantized tensor stay together, as one 4-byte-wide run, where its scales fill whole words.
std::int64_t place_of(const Planned& p) {
  const bool together = p.part != Part::copied && bytes_of(output_of(*p.input, Part::scales)) % 4 == 0;
  return together ? 32 : info(p.output.type).bits;
}

std::vector<Planned> make_plan(const io::Safetensors& in, const CheckpointOptions& options) {
  std::vector<Planned> plan;
  for (const ArrayInfo& t : in.tensors()) plan_tensor(t, options, plan);
  if (std::none_of(plan.begin(), plan.end(), [](const Planned& p) { return p.part == Part::codes; }))
    throw std::invalid_argument(
        in.file() +
        ": no tensor to quantize: expected 2-D float32, float16 or BF16 with K % 16 == 0, "
        "named by --include and not by --exclude");
  refuse_collisions(plan);
  std::stable_sort(plan.begin(), plan.end(),
                   [](const Planned& a, const Planned& b) { return place_of(a) > place_of(b); });
  return plan;
}

/// "P" for "P.weight".
std::string module_of(const std::string& tensor) {
  const std::size_t dot = tensor.rfind('.');
  return dot == std::string::npos ? tensor : tensor.substr(0, dot);
}

/// Modules that keep a matrix in high precision: what a loader must not expect scales for.
std::set<std::string> excluded_modules(const std::vector<Planned>& plan) {
  std::set<std::string> modules;
  for (const Planned& p : plan)
    if (p.part == Part::copied && p.output.shape.size() >= 2) modules.insert(module_of(p.output.name));
  return modules;
}

std::string hf_quant_config(const std::vector<Planned>& plan) {
  return nlohmann::json{{"producer", {{"name", "nvfp4"}, {"version", NVFP4_VERSION}}},
                        {"quantization",
                         {{"quant_algo", "W4A16_NVFP4"},
                          {"kv_cache_quant_algo", nullptr},
                          {"group_size", 16},
                          {"exclude_modules", excluded_modules(plan)}}}}
      .dump();
}

std::string provenance(const io::Bytes& input, const CheckpointOptions& options) {
  const BlockShape block = options.spec.block;
  return nlohmann::json{{"library_version", NVFP4_VERSION},
                        {"dialect", options.spec.dialect->name},
                        {"dialect_version", options.spec.dialect->version},
                        {"block", block_name(block)},
                        {"include", options.include},
                        {"exclude", options.exclude},
                        {"input_sha256", io::sha256(input.view())}}
      .dump();
}

void require_spec(const QuantizeSpec& spec) {
  validate(spec);
  if (spec.tensor_scale != TensorScale::tensor || spec.amax || spec.dialect->global_is == GlobalIs::none)
    throw std::invalid_argument(
        "weight_scale_2 is one number a tensor: expected a scale per tensor, from its own amax");
}

/// Writes the planned tensors in order and keeps the one quantized last: its parts lie together, or it is
/// made again.
class Stream {
 public:
  Stream(const io::Safetensors& in, io::SafetensorsWriter& out, const CheckpointOptions& options,
         const Kernels& kernels)
      : in_(in), out_(out), options_(options), kernels_(kernels) {}

  void write(const Planned& p) {
    switch (p.part) {
      case Part::copied: return out_.append(in_.read(p.input->name).bytes.view());
      case Part::codes: return out_.append(std::as_bytes(std::span(quantized(*p.input).codes)));
      case Part::scales: return out_.append(std::as_bytes(std::span(quantized(*p.input).scales)));
      case Part::global: {
        const DecodeScale scale = decode_scale(quantized(*p.input));
        return out_.append(std::as_bytes(std::span(&scale.value, 1)));
      }
    }
  }

 private:
  const BlockScaledTensor& quantized(const ArrayInfo& weight) {
    if (current_ != &weight)
      tensor_ = kernels_.quantize(io::as_matrix(in_.read(weight.name)), options_.spec, std::move(tensor_));
    current_ = &weight;
    return tensor_;
  }

  const io::Safetensors& in_;
  io::SafetensorsWriter& out_;
  const CheckpointOptions& options_;
  const Kernels& kernels_;
  const ArrayInfo* current_ = nullptr;
  BlockScaledTensor tensor_;
};

std::int64_t elements(const ArrayInfo& t) {
  std::int64_t n = 1;
  for (const std::int64_t extent : t.shape) n *= extent;
  return n;
}

CheckpointSummary summarize(const std::vector<Planned>& plan) {
  CheckpointSummary s;
  for (const Planned& p : plan) {
    const std::int64_t bytes = bytes_of(p.output);
    s.bytes += bytes;
    if (p.part != Part::copied) s.quantized_bytes += bytes;
    if (p.part == Part::copied || p.part == Part::codes) {
      s.parameters += elements(*p.input);
      ++(p.part == Part::copied ? s.copied : s.quantized);
    }
    if (p.part == Part::codes) s.quantized_parameters += elements(*p.input);
  }
  return s;
}

std::vector<ArrayInfo> outputs(const std::vector<Planned>& plan) {
  std::vector<ArrayInfo> infos;
  for (const Planned& p : plan) infos.push_back(p.output);
  return infos;
}

/// Each input tensor counts once, at its codes or its copy.
std::int64_t input_bytes(const Planned& p) {
  return p.part == Part::copied || p.part == Part::codes ? bytes_of(*p.input) : 0;
}

double bits(std::int64_t bytes, std::int64_t parameters) {
  return parameters ? 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters) : 0;
}

}  // namespace

double CheckpointSummary::bits_per_parameter() const { return bits(bytes, parameters); }
double CheckpointSummary::bits_per_quantized_parameter() const {
  return bits(quantized_bytes, quantized_parameters);
}

DecodeScale decode_scale(const BlockScaledTensor& t) {
  if (t.global.size() != 1) throw std::invalid_argument("expected one second-level scale for the tensor");
  const Dialect& dialect = *t.spec.dialect;
  switch (dialect.global_is) {
    case GlobalIs::amax: return {t.global[0] / static_cast<float>(global_divisor(t.spec))};
    case GlobalIs::multiply: return {t.global[0]};
    case GlobalIs::divide: return {1 / t.global[0]};
    case GlobalIs::none: break;
  }
  throw std::invalid_argument("a single-level tensor has no second-level scale");
}

CheckpointSummary quantize_checkpoint(const std::string& in, const std::string& out, io::Overwrite overwrite,
                                      const CheckpointOptions& options, const Kernels& kernels,
                                      const std::function<void(const CheckpointProgress&)>& progress) {
  require_spec(options.spec);
  const io::Bytes bytes = io::read_bytes(in);
  const io::Safetensors source(bytes, in);
  const std::vector<Planned> plan = make_plan(source, options);
  io::Metadata metadata = source.metadata();
  metadata["hf_quant_config"] = hf_quant_config(plan);
  metadata["nvfp4_provenance"] = provenance(bytes, options);

  io::SafetensorsWriter writer(out, overwrite, outputs(plan), metadata);
  Stream stream(source, writer, options, kernels);
  std::int64_t done = 0, total = 0;
  for (const Planned& p : plan) total += input_bytes(p);
  for (const Planned& p : plan) {
    if (progress) progress({done, total, p.output.name});
    stream.write(p);
    done += input_bytes(p);
  }
  writer.finish();
  return summarize(plan);
}

}  // namespace nvfp4
