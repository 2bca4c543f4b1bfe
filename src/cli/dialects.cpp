#include <nvfp4/producers.hpp>

#include "profile.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

Json describe(const Dialect& d) {
  Json json{{"name", d.name},
            {"version", d.version},
            {"source", d.source},
            {"evidence", d.evidence},
            {"global_is", name(d.global_is)}};
  if (d.global_divisor) json["global_divisor"] = d.global_divisor;
  return json;
}

std::string field(std::string_view key, std::string_view value) {
  return "  " + std::string(key) + std::string(10 - key.size(), ' ') + std::string(value) + '\n';
}

std::string text_of(const Dialect& d) {
  std::string global(name(d.global_is));
  if (d.global_divisor) global += ", divisor " + std::to_string(d.global_divisor);
  return std::string(d.name) + '\n' + field("version", d.version) + field("source", d.source) +
         field("evidence", d.evidence) + field("global", global);
}

Json describe(const Producer& p) {
  Json json = describe_profile(p);
  json["columns"] = p.columns;
  return json;
}

std::string text_of(const Producer& p) {
  const Json json = describe(p);
  return "  " + std::string(p.name) + ": " + std::string(p.spec.dialect->name) + ' ' +
         block_name(p.spec.block) + ", tensor scale per " + json["tensor_scale"].get<std::string>() +
         (p.columns ? ", columns too" : "") + '\n';
}

Outcome run() {
  Outcome outcome;
  outcome.json = {{"dialects", Json::array()}, {"producers", Json::array()}};
  for (const Dialect* d : all_dialects()) {
    outcome.json["dialects"].push_back(describe(*d));
    outcome.text += text_of(*d);
  }
  outcome.text += "producers\n";
  for (const Producer& p : producers()) {
    outcome.json["producers"].push_back(describe(p));
    outcome.text += text_of(p);
  }
  return outcome;
}

}  // namespace

Run declare_dialects(CLI::App&) { return run; }

}  // namespace nvfp4::cli
