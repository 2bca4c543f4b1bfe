#include <array>
#include <memory>

#include <CLI/CLI.hpp>
#include <nvfp4/io.hpp>

#include "golden_file.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string file;
};

/// How the block scales of one or many tensors use the E4M3 codes.
struct ScaleHistogram {
  std::array<std::int64_t, 256> count{};
  std::int64_t blocks = 0;

  void add(std::span<const std::uint8_t> scales) {
    for (const std::uint8_t scale : scales) ++count[scale];
    blocks += static_cast<std::int64_t>(scales.size());
  }
  std::int64_t between(int low, int high) const {  // sign ignored, as a block scale's is
    std::int64_t sum = 0;
    for (int code = low; code <= high; ++code)
      sum += count[static_cast<std::size_t>(code)] + count[static_cast<std::size_t>(code | 0x80)];
    return sum;
  }
  std::int64_t zero() const { return between(0, 0); }
  std::int64_t subnormal() const { return between(1, 7); }
  std::int64_t clamped() const { return between(0x7E, 0x7E); }
  std::int64_t nan() const { return between(0x7F, 0x7F); }
};

Json to_json(const ScaleHistogram& h) {
  Json codes = Json::object();
  for (std::size_t code = 0; code < h.count.size(); ++code)
    if (h.count[code]) codes[hex8(static_cast<std::uint32_t>(code))] = h.count[code];
  return {{"blocks", h.blocks},     {"zero", h.zero()}, {"subnormal", h.subnormal()},
          {"clamped", h.clamped()}, {"nan", h.nan()},   {"scale_codes", codes}};
}

std::string share(std::int64_t part, std::int64_t whole) {
  return thousands(part) +
         (whole ? " (" + fixed(100.0 * static_cast<double>(part) / static_cast<double>(whole), 2) + "%)"
                : "");
}

/// One line for each of the 16 exponents that occurs, with a bar.
std::string to_text(const ScaleHistogram& h) {
  std::string text = "  " + thousands(h.blocks) + " blocks: " + share(h.zero(), h.blocks) +
                     " with scale 0, " + share(h.subnormal(), h.blocks) + " subnormal, " +
                     share(h.clamped(), h.blocks) + " clamped at 448 (0x7E), " + share(h.nan(), h.blocks) +
                     " NaN\n";
  for (int exponent = 0; exponent < 16; ++exponent) {
    const std::int64_t n = h.between(8 * exponent, 8 * exponent + 7);
    if (!n) continue;
    const auto width = static_cast<std::size_t>(40 * n / h.blocks);
    text += "  " + hex8(static_cast<std::uint32_t>(8 * exponent)) + ".." +
            hex8(static_cast<std::uint32_t>(8 * exponent + 7)) + "  " + std::string(width, '#') +
            std::string(41 - width, ' ') + thousands(n) + "\n";
  }
  return text;
}

std::int64_t elements(const io::ArrayInfo& info) {
  std::int64_t n = 1;
  for (const std::int64_t extent : info.shape) n *= extent;
  return n;
}

double bits(std::uint64_t bytes, std::int64_t parameters) {
  return parameters ? 8 * static_cast<double>(bytes) / static_cast<double>(parameters) : 0;
}

// A quantized tensor with its manifest.

void add_scales(const BlockScaledTensor& t, ScaleHistogram& histogram) {
  for (std::int64_t row = 0; row < t.rows; row += t.spec.block.rows)
    histogram.add(std::span(t.scales).subspan(static_cast<std::size_t>(row * t.blocks_per_row()),
                                              static_cast<std::size_t>(t.blocks_per_row())));
}

std::string extent_text(const Json& shape) {
  std::string text;
  for (const Json& extent : shape) text += (text.empty() ? "" : " x ") + extent.dump();
  return text;
}

/// One tensor, or a stack's experts together; `stored` is how their file has them.
template <class Stored>
Outcome inspect_experts(const Stored& stored, std::span<const BlockScaledTensor> experts, const Json& shape) {
  const BlockScaledTensor& first = experts.front();
  const Dialect& dialect = *first.spec.dialect;
  ScaleHistogram histogram;
  std::size_t codes = 0, globals = 0;
  for (const BlockScaledTensor& t : experts) {
    add_scales(t, histogram);
    codes += t.codes.size();
    globals += t.global.size();
  }
  const auto parameters = static_cast<std::int64_t>(experts.size()) * first.rows * first.cols;
  const double density = bits(codes + static_cast<std::size_t>(histogram.blocks) + 4 * globals, parameters);
  Outcome outcome;
  outcome.json = {{"kind", "tensor"},
                  {"format", "nvfp4"},
                  {"dialect", dialect.name},
                  {"block", block_name(first.spec.block)},
                  {"shape", shape},
                  {"layout", name(stored.layout)},
                  {"global_is", name(dialect.global_is)},
                  {"global_count", globals},
                  {"bits_per_parameter", density},
                  {"scales", to_json(histogram)},
                  {"manifest", Json::parse(io::manifest_json(stored))}};
  if (globals == 1) outcome.json["global"] = shortest(first.global[0]);
  outcome.text = "NVFP4 by " + std::string(dialect.name) + ", " + extent_text(shape) + ", blocks " +
                 block_name(first.spec.block) + ", " + fixed(density, 3) + " bits per parameter\n  " +
                 (globals == 1 ? "tensor scale " + shortest(first.global[0])
                               : std::to_string(globals) + " second-level scales") +
                 " (" + std::string(name(dialect.global_is)) + ")\n" + to_text(histogram);
  return outcome;
}

Outcome inspect_quantized(const io::ArrayFile& file) {
  if (io::holds_stack(file)) {
    const io::QuantizedStack stack = io::read_stack(file);
    const BlockScaledTensor& t = stack.experts.front();
    return inspect_experts(stack, stack.experts, {stack.experts.size(), t.rows, t.cols});
  }
  const io::QuantizedFile q = io::read_quantized(file);
  Outcome outcome = inspect_experts(q, {&q.rows, 1}, {q.rows.rows, q.rows.cols});
  outcome.json["columns"] = q.columns.has_value();
  if (q.columns) outcome.text += "  with columns\n";
  return outcome;
}

// Any other file: its arrays, and which of them are NVFP4 weights by ModelOpt's names.

/// P.weight U8 beside P.weight_scale F8_E4M3 and P.weight_scale_2.
bool is_modelopt_weight(const io::ArrayFile& file, const io::ArrayInfo& info) {
  if (info.type != io::ElementType::u8 || info.shape.size() != 2 || !file.contains(info.name + "_scale_2") ||
      !file.contains(info.name + "_scale"))
    return false;
  const io::ArrayInfo scale = file.info(info.name + "_scale");
  return scale.type == io::ElementType::f8_e4m3 &&
         scale.shape == std::vector<std::int64_t>{info.shape[0], info.shape[1] / 8};
}

bool is_part_of_modelopt_weight(const io::ArrayFile& file, const std::string& name) {
  for (const std::string_view suffix : {"_scale", "_scale_2"}) {
    if (!name.ends_with(suffix)) continue;
    const std::string weight = name.substr(0, name.size() - suffix.size());
    if (file.contains(weight) && is_modelopt_weight(file, file.info(weight))) return true;
  }
  return false;
}

struct Totals {
  std::int64_t parameters = 0;
  std::uint64_t bytes = 0;
  ScaleHistogram scales;
};

Json inspect_weight(const io::ArrayFile& file, const io::ArrayInfo& info, Totals& totals) {
  const io::Array scales = file.read(info.name + "_scale");
  ScaleHistogram histogram;
  histogram.add({reinterpret_cast<const std::uint8_t*>(scales.bytes.data()), scales.bytes.size()});
  totals.scales.add({reinterpret_cast<const std::uint8_t*>(scales.bytes.data()), scales.bytes.size()});
  const std::int64_t parameters = 2 * elements(info);
  totals.parameters += parameters;
  totals.bytes += byte_size(info) + scales.bytes.size() + 4;
  return {{"name", info.name},
          {"format", "nvfp4 (modelopt)"},
          {"shape", {info.shape[0], 2 * info.shape[1]}},
          {"bits_per_parameter", bits(byte_size(info) + scales.bytes.size() + 4, parameters)},
          {"zero_blocks", histogram.zero()},
          {"subnormal_blocks", histogram.subnormal()},
          {"clamped_blocks", histogram.clamped()}};
}

Json inspect_plain(const io::ArrayInfo& info, Totals& totals) {
  totals.parameters += elements(info);
  totals.bytes += byte_size(info);
  return {{"name", info.name},
          {"format", io::info(info.type).safetensors},
          {"shape", info.shape},
          {"bits_per_parameter", io::info(info.type).bits}};
}

std::string line_of(const Json& tensor) {
  const std::string shape = extent_text(tensor["shape"]);
  std::string text = "  " + tensor["name"].get<std::string>() + "  " + tensor["format"].get<std::string>() +
                     "  " + (shape.empty() ? "scalar" : shape);
  if (tensor.contains("zero_blocks"))
    text += "  zero " + tensor["zero_blocks"].dump() + ", subnormal " + tensor["subnormal_blocks"].dump() +
            ", clamped " + tensor["clamped_blocks"].dump() + " blocks";
  return text + "\n";
}

Outcome inspect_arrays(const io::ArrayFile& file) {
  Totals totals;
  Outcome outcome;
  Json tensors = Json::array();
  for (const std::string& name : file.names()) {
    if (is_part_of_modelopt_weight(file, name)) continue;
    const io::ArrayInfo info = file.info(name);
    tensors.push_back(is_modelopt_weight(file, info) ? inspect_weight(file, info, totals)
                                                     : inspect_plain(info, totals));
    outcome.text += line_of(tensors.back());
  }
  outcome.text = std::string(file.container()) + ", " + std::to_string(tensors.size()) + " tensors, " +
                 thousands(totals.parameters) + " elements, " +
                 fixed(bits(totals.bytes, totals.parameters), 3) + " bits each\n" + outcome.text;
  outcome.json = {{"kind", file.container()},
                  {"tensors", std::move(tensors)},
                  {"parameters", totals.parameters},
                  {"bytes", totals.bytes},
                  {"bits_per_parameter", bits(totals.bytes, totals.parameters)}};
  if (totals.scales.blocks) {
    outcome.json["scales"] = to_json(totals.scales);
    outcome.text += to_text(totals.scales);
  }
  return outcome;
}

Outcome run(const Options& o) {
  const auto file = io::open_arrays(o.file);
  Outcome outcome = file->contains("manifest") && file->contains("packed") ? inspect_quantized(*file)
                                                                           : inspect_arrays(*file);
  outcome.json["file"] = o.file;
  outcome.text = o.file + ": " + outcome.text;
  return outcome;
}

}  // namespace

Run declare_inspect(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("FILE", o->file, ".npz, .npy or .safetensors: a tensor or a checkpoint; - for stdin")
      ->required();
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
