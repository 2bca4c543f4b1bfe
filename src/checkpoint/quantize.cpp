#include <algorithm>
#include <set>
#include <stdexcept>

#include <nvfp4/stack.hpp>
#include <nvfp4/version.hpp>

#include "container.hpp"
#include "siblings.hpp"
#include "summary.hpp"
#include "write.hpp"

namespace nvfp4 {
namespace {

using io::ElementType;

/// The glob that matches; empty where none does.
std::string matching(std::string_view name, const std::vector<std::string>& globs) {
  for (const std::string& glob : globs)
    if (matches_glob(name, glob)) return glob;
  return "";
}

bool is_floating(const Tensor& t) {
  if (!t.block_type.empty()) return io::has_gguf_values(t.block_type);
  return (t.info.type == ElementType::f32 || t.info.type == ElementType::f16 ||
          t.info.type == ElementType::bf16);
}

Dtype dtype_of(const Tensor& t) {
  return !t.block_type.empty() || t.info.type == ElementType::f32 ? Dtype::fp32
         : t.info.type == ElementType::f16                        ? Dtype::fp16
                                                                  : Dtype::bf16;
}

QuantizeSpec spec_of(const CheckpointOptions& options, const Convention& convention) {
  const QuantizeSpec spec = options.spec.value_or(default_spec(*convention.producer));
  validate(spec);
  if (spec.tensor_scale != TensorScale::tensor || spec.amax)
    throw std::invalid_argument(std::string(convention.name) +
                                " has one second-level scale a tensor: expected that of its own amax");
  if (spec.dialect->element != Format::e2m1)
    throw std::invalid_argument(std::string(convention.name) + " has 4-bit elements, those of " +
                                std::string(spec.dialect->name) + " are " +
                                std::string(info(spec.dialect->element).name));
  return spec;
}

Weight weight_of(const Tensor& t, const CheckpointOptions& options, const QuantizeSpec& spec,
                 const Convention& convention) {
  Weight w{.name = t.info.name,
           .shape = t.shape,
           .scale = spec.dialect->scale,
           .original = dtype_of(t),
           .tensors = {}};
  if (spec.dialect->global_is != GlobalIs::none) w.second = convention.use;
  if (options.input_amax.contains(module_of(w.name))) w.input = convention.use;
  return w;
}

/// Why a tensor stays as it is; empty where it is to be quantized.
std::string reason_to_keep(const Tensor& t, const Weight& w, const CheckpointOptions& options,
                           const Convention& convention) {
  const bool stack = t.shape.size() == 3 && !matching(t.info.name, options.stacks).empty();
  if (!stack && matching(t.info.name, options.include).empty()) return "not included";
  if (const std::string glob = matching(t.info.name, options.exclude); !glob.empty())
    return "excluded by " + glob;
  if (!is_floating(t)) return "no float32, float16 or BF16";
  if ((t.shape.size() != 2 && !stack) || elements(t.shape) == 0) return "no matrix";
  return convention.obstacle(w);
}

/// A stack's experts, one after another.
StoredWeight joined(std::vector<StoredWeight> experts) {
  if (experts.size() == 1) return std::move(experts.front());
  StoredWeight all{.weight = experts.front().weight, .second = experts.front().second};
  std::vector<std::byte> codes, scales;
  if (all.second) all.second->values.clear();
  for (const StoredWeight& expert : experts) {
    codes.insert(codes.end(), expert.codes.view().begin(), expert.codes.view().end());
    scales.insert(scales.end(), expert.scales.view().begin(), expert.scales.view().end());
    if (all.second) all.second->values.push_back(expert.second->values.front());
  }
  all.codes = io::Bytes(std::move(codes)), all.scales = io::Bytes(std::move(scales));
  return all;
}

/// What quantizes the weights of one checkpoint; outlives the plan.
class Quantizer {
 public:
  Quantizer(const Checkpoint& in, const CheckpointOptions& options, const QuantizeSpec& spec,
            const Convention& convention, const Kernels& kernels)
      : in_(in), options_(options), spec_(spec), convention_(convention), kernels_(kernels) {}

  void add_sibling(const Tensor& t) {
    if (!options_.shared_scale) return;
    if (const auto key = sibling_key(t.info.name)) siblings_[*key].push_back(&t);
  }

  std::vector<io::Bytes> store(const Tensor& t, const Weight& w) {
    const std::vector<float> amaxes = joint_amaxes(t, w.experts());
    const io::Array array = in_.numbers(t);
    std::vector<StoredWeight> experts;
    for (std::int64_t e = 0; e < w.experts(); ++e) {
      QuantizeSpec spec = spec_;
      if (!amaxes.empty()) spec.amax = amaxes[static_cast<std::size_t>(e)];
      const MatrixView x = expert_of(io::as_matrix(array), w.experts(), e);
      experts.push_back(stored(kernels_.quantize(x, spec, {}), w));
    }
    StoredWeight s = joined(std::move(experts));
    array.bytes.release();
    if (w.input) s.input = input_scale(options_.input_amax.at(module_of(w.name)));
    return convention_.store(s);
  }

 private:
  /// Of a tensor with siblings, expert by expert: all have been read once they are known. Else none.
  std::vector<float> joint_amaxes(const Tensor& t, std::int64_t experts) {
    const auto key = options_.shared_scale ? sibling_key(t.info.name) : std::nullopt;
    if (!key) return {};
    const auto known = amaxes_.find({*key, experts});
    if (known != amaxes_.end()) return known->second;
    std::vector<float> largest(static_cast<std::size_t>(experts));
    for (const Tensor* sibling : siblings_.at(*key)) {
      if (experts_of(*sibling) != experts) continue;
      const io::Array array = in_.numbers(*sibling);
      for (std::int64_t e = 0; e < experts; ++e) {
        const float own = kernels_.amax(expert_of(io::as_matrix(array), experts, e), *spec_.dialect);
        if (std::isnan(own))
          throw std::invalid_argument(sibling->info.name +
                                      ": a NaN, and siblings that would share its scale");
        largest[static_cast<std::size_t>(e)] = std::max(largest[static_cast<std::size_t>(e)], own);
      }
      array.bytes.release();
    }
    return amaxes_[{*key, experts}] = largest;
  }

  static std::int64_t experts_of(const Tensor& t) { return t.shape.size() == 3 ? t.shape[0] : 1; }

  /// The producers' own: 2688/amax to divide by, amax/2688 to multiply with.
  SecondScale input_scale(float amax) const {
    return {convention_.use, {convention_.use == ScaleUse::divides ? 2688 / amax : amax / 2688}};
  }

  const Checkpoint& in_;
  const CheckpointOptions& options_;
  const QuantizeSpec& spec_;
  const Convention& convention_;
  const Kernels& kernels_;
  std::map<std::string, std::vector<const Tensor*>> siblings_;
  std::map<std::pair<std::string, std::int64_t>, std::vector<float>> amaxes_;
};

/// `stacks`: there are some among the weights.
nlohmann::ordered_json provenance(const CheckpointOptions& options, const QuantizeSpec& spec, bool stacks) {
  nlohmann::ordered_json json{{"library_version", NVFP4_VERSION},
                              {"dialect", spec.dialect->name},
                              {"dialect_version", spec.dialect->version},
                              {"block", block_name(spec.block)},
                              {"include", options.include},
                              {"exclude", options.exclude}};
  if (stacks) json["stacks"] = options.stacks;
  if (options.shared_scale) json["shared_scale"] = true;
  if (!options.input_amax.empty()) json["input_amax"] = options.input_amax;
  return json;
}

void refuse_unknown_modules(const CheckpointOptions& options, const std::vector<Weight>& weights) {
  std::set<std::string> modules;
  for (const Weight& w : weights) modules.insert(module_of(w.name));
  for (const auto& [module, amax] : options.input_amax) {
    if (!modules.contains(module))
      throw std::invalid_argument("input amax of '" + module + "': no weight of that module is quantized");
    if (!(amax > 0) || std::isinf(amax))
      throw std::invalid_argument("input amax of '" + module + "': expected a positive finite number");
  }
}

}  // namespace

CheckpointSummary quantize_checkpoint(const std::string& in, const CheckpointTarget& target,
                                      const CheckpointOptions& options, const Kernels& kernels,
                                      const CheckpointWatch& watch) {
  const Convention& convention = convention_named(options.format);
  const QuantizeSpec spec = spec_of(options, convention);
  const Checkpoint source(in);
  source.require_whole();
  Quantizer quantizer(source, options, spec, convention, kernels);
  CheckpointPlan plan{
      .documents = source.documents(), .metadata = source.metadata(), .companions = source.companions()};
  Description description;
  Tally tally;
  for (const Tensor& t : source.tensors()) {
    const Weight w = weight_of(t, options, spec, convention);
    const std::string reason = reason_to_keep(t, w, options, convention);
    if (!reason.empty()) {
      plan.groups.push_back(kept_in(convention.file, source, t, true));
      description.copied.push_back(t.info.name);
      tally.keep(t, plan.groups.back(), reason);
      continue;
    }
    quantizer.add_sibling(t);
    plan.groups.push_back(
        {convention.parts(w), byte_size(t.info), [&quantizer, &t, w] { return quantizer.store(t, w); }});
    description.weights.push_back(w);
    tally.quantize(w, plan.groups.back());
  }
  if (description.weights.empty())
    throw std::invalid_argument(
        in +
        ": no tensor to quantize: expected 2-D float32, float16 or BF16 with K % 16 == 0, "
        "named by --include and not by --exclude");
  refuse_unknown_modules(options, description.weights);
  plan.provenance = provenance(options, spec,
                               std::any_of(description.weights.begin(), description.weights.end(),
                                           [](const Weight& w) { return w.shape.size() == 3; }));
  description.kept = tally.kept_modules();
  convention.declare(description, plan.documents, plan.metadata);
  write_checkpoint(std::move(plan), source, convention.file, target, watch);
  return tally.summary();
}

}  // namespace nvfp4
