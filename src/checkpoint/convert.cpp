#include <algorithm>
#include <stdexcept>

#include <nvfp4/version.hpp>

#include "container.hpp"
#include "summary.hpp"
#include "walk.hpp"
#include "write.hpp"

namespace nvfp4 {
namespace {

bool is_dropped(const std::string& name, const std::vector<std::string>& drop) {
  return std::any_of(drop.begin(), drop.end(),
                     [&](const std::string& glob) { return matches_glob(name, glob); });
}

/// The input's own provenance stays beside this step's.
nlohmann::ordered_json provenance(const Checkpoint& source, const Convention& from, const Convention& to) {
  nlohmann::ordered_json json{
      {"library_version", NVFP4_VERSION}, {"converted_from", from.name}, {"format", to.name}};
  const auto before = source.documents().find("nvfp4_provenance");
  if (before != source.documents().end()) {
    nlohmann::ordered_json parsed = nlohmann::ordered_json::parse(before->second, nullptr, false);
    if (!parsed.is_discarded()) json["before"] = std::move(parsed);
  }
  return json;
}

/// Understood by the loaders of this convention, and no others.
bool is_only_of(const Convention& c, const std::string& name) {
  return ends_in_any(name, c.factors) || ends_in_any(name, c.companions);
}

/// The tensors of a weight as they are.
TensorGroup unchanged(const Checkpoint& source, const Weight& w) {
  TensorGroup group{{}, input_bytes(source, w), [&source, &w] {
                      std::vector<io::Bytes> bytes;
                      for (const std::string& name : w.tensors) bytes.push_back(source.read(name).bytes);
                      return bytes;
                    }};
  for (const std::string& name : w.tensors) {
    const Tensor& t = source.at(name);
    group.tensors.push_back({t.info, t.block_type, t.shape});
  }
  return group;
}

/// The weight in the direction of the target's second-level scales.
Weight directed(Weight w, const Convention& to) {
  if (w.second) w.second = to.use;
  if (w.input) w.input = to.use;
  return w;
}

TensorGroup rewritten(const Checkpoint& source, const Weight& w, const Convention& from,
                      const Convention& to) {
  if (const std::string obstacle = to.obstacle(w); !obstacle.empty())
    throw std::invalid_argument(source.path() + ": " + w.name + ": " + obstacle);
  return {to.parts(directed(w, to)), input_bytes(source, w),
          [&source, &from, &to, &w] { return to.store(from.load(source, w)); }};
}

}  // namespace

CheckpointSummary convert_checkpoint(const std::string& in, const CheckpointTarget& target,
                                     const ConvertOptions& options, const CheckpointWatch& watch) {
  const Convention& to = convention_named(options.format);
  const Checkpoint source(in);
  source.require_whole();
  const Convention& from = source_convention(source);
  CheckpointPlan plan{.documents = source.documents(),
                      .metadata = source.metadata(),
                      .companions = source.companions(),
                      .provenance = provenance(source, from, to)};
  Description description;
  Tally tally;
  const bool as_it_is = &from == &to && !to.declares_from_itself;
  const std::vector<Weight> weights = from.find(source);
  const auto move = [&](const Weight& w) {
    plan.groups.push_back(as_it_is ? unchanged(source, w) : rewritten(source, w, from, to));
    description.weights.push_back(directed(w, to));
    tally.quantize(w, plan.groups.back());
  };
  std::vector<std::string> strangers;
  const auto copy = [&](const Tensor& t) {
    if (is_dropped(t.info.name, options.drop)) return;
    if (&from != &to && is_only_of(from, t.info.name)) strangers.push_back(t.info.name);
    plan.groups.push_back(kept_in(to.file, source, t, options.widen));
    description.copied.push_back(t.info.name);
    tally.keep(t, plan.groups.back(), "no block-scaled weight");
  };
  walk(source, weights, move, copy);
  if (!strangers.empty())
    throw std::invalid_argument(in + ": " + std::string(to.name) + " has no place for " + listed(strangers) +
                                ": --drop leaves tensors out");
  description.kept = tally.kept_modules();
  if (&from != &to) from.undeclare(plan.documents, plan.metadata);
  if (!as_it_is) to.declare(description, plan.documents, plan.metadata);
  write_checkpoint(std::move(plan), source, to.file, target, watch);
  return tally.summary();
}

}  // namespace nvfp4
