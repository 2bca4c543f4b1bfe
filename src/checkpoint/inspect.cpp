#include <nvfp4/inspect.hpp>

#include <algorithm>
#include <map>
#include <set>

#include "dialect_evidence.hpp"
#include "parts.hpp"
#include "walk.hpp"

namespace nvfp4 {
namespace {

std::optional<SecondLevel> both_ways(const std::optional<SecondScale>& scale) {
  if (!scale) return std::nullopt;
  return SecondLevel{scale->use == ScaleUse::divides, scale->values};
}

/// From the sizes that are stored: a tiled layout of whole tiles has the linear one's, and then the convention's word.
std::string_view layout_of(const Checkpoint& c, const Weight& w) {
  for (const std::string& name : w.tensors) {
    const Tensor& t = c.at(name);
    if (!t.block_type.empty()) return "blocks";
    if (t.info.type != io::ElementType::f8_e4m3) continue;
    const bool wide = t.shape == with_last(w.shape, w.cols() / 32);  // ModelOpt's W4A8: one for 32 elements
    if (!wide && t.shape != with_last(w.shape, w.cols() / w.block())) return "128x4";
  }
  return "linear";
}

TensorReport report_of(const Checkpoint& c, const HeldWeight& held, const WeightFacts& facts) {
  const Weight& w = held.weight;
  TensorReport report{.name = w.name,
                      .type = w.scale == Format::ue4m3 ? "nvfp4" : "mxfp4",
                      .shape = w.shape,
                      .bytes = input_bytes(c, w)};
  WeightReport& weight = report.weight.emplace();
  weight.convention = held.convention->name;
  weight.layout = layout_of(c, w);
  weight.scales = facts.scales;
  weight.second = both_ways(facts.second);
  weight.input = both_ways(facts.input);
  weight.zero_elements = facts.zero_elements;
  for (std::size_t e = 0; e < facts.experts.size(); ++e)
    weight.amax = std::max(weight.amax, facts.amax_at(e));
  return report;
}

TensorReport report_of(const Tensor& t) {
  return {.name = t.info.name, .type = t.type(), .shape = t.shape, .bytes = byte_size(t.info)};
}

/// The convention's own where any weight is its; how sure that is.
void add_convention(CheckpointReport& report, const Checkpoint& c, const Convention& own,
                    const std::vector<HeldWeight>& weights, const std::vector<WeightFacts>& facts) {
  report.dialect = dialect_evidence(weights, facts, *own.producer);
  report.convention = own.name;
  if (own.declared(c))
    report.confidence = Confidence::declared;
  else
    report.confidence = loose_parts(c, weights).empty() ? Confidence::complete : Confidence::partial;
}

CheckpointReport inspect(const Checkpoint& checkpoint, int threads, const CheckpointWatch& watch) {
  const std::vector<HeldWeight> weights = held_weights(checkpoint);
  const std::vector<WeightFacts> facts = facts_of(checkpoint, weights, threads, watch);
  CheckpointReport report{.container = checkpoint.files().empty()
                                           ? std::string_view("safetensors")
                                           : checkpoint.files().front().arrays->container(),
                          .folder = checkpoint.is_folder(),
                          .files = checkpoint.files().size(),
                          .convention = {}};
  if (!weights.empty())  // of which the first is of the checkpoint's own convention
    add_convention(report, checkpoint, *weights.front().convention, weights, facts);

  std::map<std::string_view, std::size_t> owners;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    for (const std::string& tensor : weights[i].weight.tensors) owners[tensor] = i;
    if (facts[i].scales.format == Format::ue4m3) report.scales.add(facts[i].scales);
  }
  std::set<std::size_t> seen;
  for (const Tensor& t : checkpoint.tensors()) {
    const auto owner = owners.find(t.info.name);
    if (owner == owners.end())
      report.tensors.push_back(report_of(t));
    else if (seen.insert(owner->second).second)
      report.tensors.push_back(report_of(checkpoint, weights[owner->second], facts[owner->second]));
  }
  return report;
}

}  // namespace

std::string_view name(Confidence c) {
  return c == Confidence::declared ? "declared" : c == Confidence::complete ? "complete" : "partial";
}

void ScaleHistogram::add(std::span<const std::uint8_t> scales) {
  for (const std::uint8_t scale : scales) ++count[scale];
  blocks += static_cast<std::int64_t>(scales.size());
}

void ScaleHistogram::add(const ScaleHistogram& other) {
  for (std::size_t code = 0; code < count.size(); ++code) count[code] += other.count[code];
  blocks += other.blocks;
}

std::int64_t ScaleHistogram::of(int first, int last) const {
  std::int64_t sum = 0;
  for (int code = first; code <= last; ++code)
    sum += count[static_cast<std::size_t>(code)] + count[static_cast<std::size_t>(code | 0x80)];
  return sum;
}

std::int64_t TensorReport::parameters() const { return elements(shape); }
double TensorReport::bits_per_parameter() const {
  return bits_each(static_cast<std::int64_t>(bytes), parameters());
}

std::int64_t CheckpointReport::parameters() const {
  std::int64_t sum = 0;
  for (const TensorReport& t : tensors) sum += t.parameters();
  return sum;
}

std::uint64_t CheckpointReport::bytes() const {
  std::uint64_t sum = 0;
  for (const TensorReport& t : tensors) sum += t.bytes;
  return sum;
}

double CheckpointReport::bits_per_parameter() const {
  return bits_each(static_cast<std::int64_t>(bytes()), parameters());
}

CheckpointReport inspect_checkpoint(const std::string& path, int threads, const CheckpointWatch& watch) {
  return inspect(Checkpoint(path), threads, watch);
}

CheckpointReport inspect_checkpoint(io::Bytes file, const std::string& path, int threads,
                                    const CheckpointWatch& watch) {
  return inspect(Checkpoint(std::move(file), path), threads, watch);
}

}  // namespace nvfp4
