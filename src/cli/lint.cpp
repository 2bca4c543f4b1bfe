#include <algorithm>
#include <memory>
#include <set>

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/lint.hpp>

#include "checkpoint_output.hpp"
#include "command.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string path, baseline, write_baseline;
  std::vector<std::string> ignored;
  bool strict = false, force = false, codes = false;
};

/// What a baseline remembers of a finding. Not its text: numbers may change.
using Known = std::set<std::pair<std::string, std::string>>;

Known read_baseline(const std::string& path) {
  const io::Bytes bytes = io::read_bytes(path);
  const auto* first = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(first, first + bytes.size(), nullptr, false);
  const auto refuse = [&](std::string_view place, std::string_view expected) {
    throw io::FileError(path, place, expected, "something else");
  };
  if (!json.is_object() || !json.contains("accepted") || !json["accepted"].is_array())
    refuse("file", "JSON with an array 'accepted', as --write-baseline writes it");
  Known known;
  for (const Json& entry : json["accepted"]) {
    if (!entry.is_object() || !entry.contains("code") || !entry["code"].is_string() ||
        !entry.contains("place") || !entry["place"].is_string())
      refuse("accepted", "objects with texts 'code' and 'place'");
    known.emplace(entry["code"].get<std::string>(), entry["place"].get<std::string>());
  }
  return known;
}

void write_baseline(const Options& o, const std::vector<Finding>& findings) {
  Json accepted = Json::array();
  for (const Finding& f : findings)
    accepted.push_back({{"code", f.rule->code}, {"place", f.place}, {"text", f.text}});
  const std::string text =
      Json{{"accepted", std::move(accepted)}}.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  io::write_text(o.write_baseline, text, o.force ? io::Overwrite::yes : io::Overwrite::no);
}

Json to_json(const LintRule& rule) {
  return {{"code", rule.code}, {"severity", name(rule.severity)}, {"title", rule.title}, {"hint", rule.hint}};
}

Json to_json(const Finding& f) {
  Json json{{"code", f.rule->code},
            {"severity", name(f.rule->severity)},
            {"place", f.place},
            {"text", f.text},
            {"hint", f.rule->hint}};
  if (f.first) json["first"] = {{"row", f.first->row}, {"block", f.first->block}};
  return json;
}

std::string severity_text(Severity s) {
  return coloured(s == Severity::error ? Colour::red : Colour::dim, name(s));
}

/// The hint follows the last finding of its code.
std::string to_text(const std::vector<Finding>& findings) {
  std::string text;
  for (std::size_t i = 0; i < findings.size(); ++i) {
    const Finding& f = findings[i];
    text += std::string(f.rule->code) + " " + severity_text(f.rule->severity) + " " + f.place + ": " +
            f.text + "\n";
    if (i + 1 == findings.size() || findings[i + 1].rule != f.rule)
      text +=
          coloured(Colour::dim, "  " + std::string(f.rule->title) + ": " + std::string(f.rule->hint)) + "\n";
  }
  return text;
}

Outcome list_codes() {
  Outcome outcome;
  outcome.json["codes"] = Json::array();
  for (const LintRule& rule : lint_rules()) {
    outcome.json["codes"].push_back(to_json(rule));
    outcome.text += std::string(rule.code) + "  " + left(name(rule.severity), 9) + std::string(rule.title) +
                    "\n    " + std::string(rule.hint) + "\n";
  }
  return outcome;
}

std::string counted(std::int64_t n, std::string_view what) {
  return std::to_string(n) + " " + std::string(what) + (n == 1 ? "" : "s");
}

Outcome report(const Options& o, const std::vector<Finding>& findings, std::int64_t accepted) {
  const auto count = [&](Severity s) {
    return std::count_if(findings.begin(), findings.end(),
                         [&](const Finding& f) { return f.rule->severity == s; });
  };
  const auto errors = count(Severity::error), warnings = count(Severity::warning),
             infos = count(Severity::info);
  Outcome outcome;
  outcome.exit_code = errors || warnings || (o.strict && infos) ? 1 : 0;
  outcome.json = {{"file", o.path}, {"errors", errors},     {"warnings", warnings},
                  {"infos", infos}, {"accepted", accepted}, {"findings", Json::array()}};
  for (const Finding& f : findings) outcome.json["findings"].push_back(to_json(f));
  outcome.text = to_text(findings) + counted(errors, "error") + ", " + counted(warnings, "warning");
  if (infos) outcome.text += ", " + std::to_string(infos) + " info";
  if (accepted) outcome.text += ", " + std::to_string(accepted) + " accepted by the baseline";
  outcome.text += "\n";
  return outcome;
}

Outcome run(const Options& o) {
  if (o.codes) return list_codes();
  if (o.path.empty()) throw UsageError("lint: expected a FILE or FOLDER, or --codes");
  const Known known = o.baseline.empty() ? Known() : read_baseline(o.baseline);
  if (o.write_baseline == "-") throw UsageError("--write-baseline -: expected a file");
  std::vector<Finding> findings =
      lint_checkpoint(o.path, {.ignored = o.ignored, .watch = checkpoint_watch("lint")});
  if (!o.write_baseline.empty()) {
    write_baseline(o, findings);
    const auto n = static_cast<std::int64_t>(findings.size());
    return report(o, {}, n);
  }
  const auto accepted = std::erase_if(findings, [&](const Finding& f) {
    return known.contains({std::string(f.rule->code), f.place});
  });
  return report(o, findings, static_cast<std::int64_t>(accepted));
}

}  // namespace

Run declare_lint(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("PATH", o->path, ".safetensors, .gguf, an index of shards, or a folder; - for stdin");
  app.add_flag("--codes", o->codes, "list the codes with their hints");
  app.add_option("--ignore", o->ignored, "codes that are not reported")
      ->delimiter(',')
      ->type_name("NV001,...");
  app.add_option("--baseline", o->baseline, "findings that are accepted")->type_name("FILE.json");
  app.add_option("--write-baseline", o->write_baseline, "accept all findings of this run from now on")
      ->type_name("FILE.json")
      ->excludes("--baseline");
  app.add_flag("--force", o->force, "replace an existing baseline");
  app.add_flag("--strict", o->strict, "exit 1 on an info, too");
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
