#include <stdexcept>

#include <nvfp4/version.hpp>

#include "container.hpp"
#include "gguf_metadata.hpp"
#include "summary.hpp"
#include "walk.hpp"
#include "write.hpp"

namespace nvfp4 {
namespace {

io::ElementType element_of(Dtype t) {
  return t == Dtype::fp32   ? io::ElementType::f32
         : t == Dtype::fp16 ? io::ElementType::f16
                            : io::ElementType::bf16;
}

/// gguf-py's LlamaFileType.
std::uint32_t mostly(Dtype t) { return t == Dtype::fp32 ? 0 : t == Dtype::fp16 ? 1 : 32; }

io::Bytes values_of(const StoredWeight& w, const Convention& from, Dtype dtype, const Kernels& kernels) {
  std::vector<std::byte> all;
  for (std::int64_t expert = 0; expert < w.weight.experts(); ++expert) {
    Matrix values = from.decode(w, expert, kernels);
    if (dtype != Dtype::fp32) values = converted(values.view(), dtype, kernels);
    if (w.weight.experts() == 1) return owned(std::move(values.bytes));
    all.insert(all.end(), values.bytes.begin(), values.bytes.end());
  }
  return owned(std::move(all));
}

}  // namespace

CheckpointSummary dequantize_checkpoint(const std::string& in, const CheckpointTarget& target, Dtype dtype,
                                        const Kernels& kernels, const CheckpointWatch& watch) {
  const Checkpoint source(in);
  source.require_whole();
  const OwnWeights own = source_weights(source);
  const Convention& from = *own.convention;
  CheckpointPlan plan{.documents = source.documents(),
                      .metadata = source.metadata(),
                      .companions = source.companions(),
                      .provenance = {{"library_version", NVFP4_VERSION},
                                     {"dequantized_from", from.name},
                                     {"dialect", from.producer->name},
                                     {"dtype", name(dtype)}}};
  const std::string_view container = target.path.ends_with(".gguf") ? "gguf" : "safetensors";
  Tally tally;
  const auto decode = [&](const Weight& w) {
    plan.groups.push_back({{{{w.name, element_of(dtype), w.shape}}}, input_bytes(source, w), [&, dtype] {
                             return std::vector{values_of(from.load(source, w), from, dtype, kernels)};
                           }});
    tally.quantize(w, plan.groups.back());
  };
  std::vector<std::string> unknown;
  const auto copy = [&](const Tensor& t) {
    if (ends_in_any(t.info.name, from.factors)) unknown.push_back(t.info.name);
    plan.groups.push_back(kept_in(container, source, t, true));
    tally.keep(t, plan.groups.back(), "no block-scaled weight");
  };
  walk(source, own.weights, decode, copy);
  if (!unknown.empty())
    throw std::invalid_argument(in + ": part of a weight's value, and not decoded here: " + listed(unknown));
  from.undeclare(plan.documents, plan.metadata);
  if (container == "gguf") set_gguf_file_type(plan.metadata, mostly(dtype));
  write_checkpoint(std::move(plan), source, container, target, watch);
  return tally.summary();
}

}  // namespace nvfp4
