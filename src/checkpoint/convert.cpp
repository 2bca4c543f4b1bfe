#include <algorithm>
#include <stdexcept>

#include <nvfp4/version.hpp>

#include "container.hpp"
#include "document.hpp"
#include "scale_history.hpp"
#include "summary.hpp"
#include "walk.hpp"
#include "write.hpp"

namespace nvfp4 {
namespace {

bool is_dropped(const std::string& name, const std::vector<std::string>& drop) {
  return std::any_of(drop.begin(), drop.end(),
                     [&](const std::string& glob) { return matches_glob(name, glob); });
}

constexpr const char* history_key = "scales_before";

/// The input's own, an object; empty where it has none.
nlohmann::ordered_json provenance_of(const Checkpoint& source) {
  const auto text = source.documents().find("nvfp4_provenance");
  const auto none = nlohmann::ordered_json::object();
  if (text == source.documents().end()) return none;
  nlohmann::ordered_json json = parsed_document(text->second);
  return json.is_object() ? json : none;
}

/// The input's provenance stays beside this step's.
nlohmann::ordered_json provenance(nlohmann::ordered_json before, const Convention& from, const Convention& to,
                                  const ScaleHistory& history) {
  nlohmann::ordered_json json{
      {"library_version", NVFP4_VERSION}, {"converted_from", from.name}, {"format", to.name}};
  before.erase(history_key);
  if (!before.empty()) json["before"] = std::move(before);
  if (auto scales = history.json(); !scales.is_null()) json[history_key] = std::move(scales);
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

/// The weight in the direction of the target's second-level scales, without the one that stands for none.
Weight directed(const Checkpoint& source, Weight w, const ScaleHistory& history, const Convention& to) {
  if (history.was_single_level(source, w)) w.second.reset();
  if (w.second) w.second = to.use;
  if (w.input) w.input = to.use;
  return w;
}

StoredWeight turned(StoredWeight s, const Weight& w, const ScaleHistory& history, ScaleUse use) {
  if (!w.second) s.second.reset();
  if (s.second) s.second = history.turned(s.weight.name, "second", *s.second, use);
  if (s.input) s.input = history.turned(s.weight.name, "input", *s.input, use);
  return s;
}

/// `moved` is the weight as the output has it.
TensorGroup rewritten(const Checkpoint& source, const Weight& w, const Weight& moved, const Convention& from,
                      const Convention& to, const ScaleHistory& history) {
  if (const std::string obstacle = to.obstacle(moved); !obstacle.empty())
    throw std::invalid_argument(source.path() + ": " + w.name + ": " + obstacle);
  return {to.parts(moved), input_bytes(source, w), [&source, &w, moved, &from, &to, &history] {
            return to.store(turned(from.load(source, w), moved, history, to.use));
          }};
}

}  // namespace

CheckpointSummary convert_checkpoint(const std::string& in, const CheckpointTarget& target,
                                     const ConvertOptions& options, const CheckpointWatch& watch) {
  const Convention& to = convention_named(options.format);
  const Checkpoint source(in);
  source.require_whole();
  const OwnWeights own = source_weights(source);
  const Convention& from = *own.convention;
  CheckpointPlan plan{
      .documents = source.documents(), .metadata = source.metadata(), .companions = source.companions()};
  const nlohmann::ordered_json before = provenance_of(source);
  ScaleHistory history(before.value(history_key, nlohmann::ordered_json()));
  Description description;
  Tally tally;
  const bool as_it_is = &from == &to && !to.declares_from_itself;
  const auto move = [&](const Weight& w) {
    const Weight moved = directed(source, w, history, to);
    plan.groups.push_back(as_it_is ? unchanged(source, w) : rewritten(source, w, moved, from, to, history));
    history.keep(source, w, to.use);
    description.weights.push_back(moved);
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
  walk(source, own.weights, move, copy);
  if (!strangers.empty())
    throw std::invalid_argument(in + ": " + std::string(to.name) + " has no place for " + listed(strangers) +
                                ": --drop leaves tensors out");
  description.kept = tally.kept_modules();
  if (&from != &to) from.undeclare(plan.documents, plan.metadata);
  if (!as_it_is) to.declare(description, plan.documents, plan.metadata);
  plan.provenance = provenance(before, from, to, history);
  write_checkpoint(std::move(plan), source, to.file, target, watch);
  return tally.summary();
}

}  // namespace nvfp4
