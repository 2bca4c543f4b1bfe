#include "model_table.hpp"

namespace nvfp4::cli {
namespace {

Json element_names(const Accumulation& acc) {
  if (acc.sum == Summation::fp64_fma) return Json::array({"fp64"});
  Json names = Json::array();
  for (const Format format : acc.elements) names.push_back(info(format).name);
  return names;
}

Json describe(const Accumulation& acc) {
  Json json{{"name", acc.name}, {"elements", element_names(acc)}, {"k", acc.k}};
  if (takes_all(acc)) json["elements"] = "all";
  json["scale"] = acc.scale ? Json(info(*acc.scale).name) : Json(nullptr);
  json["evidence"] = acc.evidence;
  json["confidence"] = acc.confidence;
  return json;
}

}  // namespace

std::string model_names() {
  std::string text;
  for (const Accumulation& acc : accumulations()) text += (text.empty() ? "" : ", ") + std::string(acc.name);
  return text;
}

const Accumulation& model_named(const std::string& name, const std::string& option) {
  if (const Accumulation* acc = find_accumulation(name)) return *acc;
  throw UsageError(option + " " + name + ": expected one of " + model_names());
}

Outcome model_list() {
  Outcome outcome;
  outcome.json = {{"models", Json::array()}};
  for (const Accumulation& acc : accumulations()) {
    outcome.json["models"].push_back(describe(acc));
    outcome.text += std::string(acc.name) + "\n  evidence    " + std::string(acc.evidence) +
                    "\n  confidence  " + std::string(acc.confidence) + '\n';
  }
  return outcome;
}

}  // namespace nvfp4::cli
