#include <algorithm>
#include <stdexcept>

#include <nvfp4/version.hpp>

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

/// The weight in the direction of the target's second-level scales.
Weight directed(Weight w, const Convention& to) {
  if (w.second) w.second = to.use;
  if (w.input) w.input = to.use;
  return w;
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
  const std::vector<Weight> weights = from.find(source);
  const auto move = [&](const Weight& w) {
    if (const std::string obstacle = to.obstacle(w); !obstacle.empty())
      throw std::invalid_argument(in + ": " + w.name + ": " + obstacle);
    plan.groups.push_back({to.parts(directed(w, to)), input_bytes(source, w),
                           [&source, &from, &to, &w] { return to.store(from.load(source, w)); }});
    description.weights.push_back(directed(w, to));
    tally.quantize(w, plan.groups.back());
  };
  std::vector<std::string> strangers;
  const auto copy = [&](const Tensor& t) {
    if (is_dropped(t.info.name, options.drop)) return;
    if (&from != &to && is_only_of(from, t.info.name)) strangers.push_back(t.info.name);
    plan.groups.push_back(copied(source, t));
    tally.keep(t, "no block-scaled weight");
  };
  walk(source, weights, move, copy);
  if (!strangers.empty())
    throw std::invalid_argument(in + ": " + std::string(to.name) + " has no place for " + listed(strangers) +
                                ": --drop leaves tensors out");
  description.kept = tally.kept_modules();
  if (&from != &to) {
    from.undeclare(plan.documents, plan.metadata);
    to.declare(description, plan.documents, plan.metadata);
  }
  write_checkpoint(std::move(plan), source, to.file, target, watch);
  return tally.summary();
}

}  // namespace nvfp4
