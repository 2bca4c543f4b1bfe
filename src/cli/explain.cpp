#include <nvfp4/explain.hpp>

#include <bit>
#include <memory>

#include <CLI/App.hpp>

#include "number.hpp"
#include "profile.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::vector<std::string> values;
  std::string amax, tensor_amax, random, dtype = "float32";
  ProfileOptions profile;
};

Json to_json(const ExplainedStep& step) {
  Json json{{"step", step.text},
            {"value", shortest(step.value)},
            {"bits", hex32(std::bit_cast<std::uint32_t>(step.value))}};
  if (step.is_rounding) json.update({{"code", hex8(step.code)}, {"fields", step.fields}});
  if (!step.story) return json;
  const RoundingStory& story = *step.story;
  json.update({{"neighbours", {story.low, story.high}}, {"tie", story.tie}, {"why", story.why}});
  return json;
}

Json to_json(const std::vector<ExplainedStep>& steps) {
  Json json = Json::array();
  for (const ExplainedStep& step : steps) json.push_back(to_json(step));
  return json;
}

Json to_json(const Explanation& e) {
  return {{"value", shortest(e.value)},
          {"bits", hex32(std::bit_cast<std::uint32_t>(e.value))},
          {"amax", shortest(e.amax)},
          {"tensor_amax", shortest(e.tensor_amax)},
          {"dialect", e.spec.dialect->name},
          {"tensor_scale", to_json(e.tensor_scale)},
          {"block_scale", to_json(e.block_scale)},
          {"element", to_json(e.element)},
          {"dequantize", to_json(e.dequantize)},
          {"scale_code", e.scale_code},
          {"code", e.code},
          {"result", shortest(e.result)},
          {"error", static_cast<double>(e.result) - e.value}};
}

std::uint8_t parse_byte(const std::string& text) {
  std::size_t end = 0;
  unsigned long value = 256;
  try {
    value = std::stoul(text, &end, 0);
  } catch (const std::logic_error&) {
  }
  if (end != text.size() || value > 255 || text.starts_with('-'))
    throw UsageError("--random " + text + ": expected a byte, 0 to 255 or 0x00 to 0xFF");
  return static_cast<std::uint8_t>(value);
}

ExplainQuestion question(const Options& o) {
  ProfileOptions by = o.profile;
  if (!o.random.empty()) by.rounding = "sr";
  ExplainQuestion q{.spec = profile(by).spec, .dtype = dtype_named(o.dtype).value_or(Dtype::fp32)};
  if (!o.random.empty()) q.random = parse_byte(o.random);
  for (const std::string& text : o.values) q.values.push_back(parse_float(text, "VALUE"));
  if (!o.amax.empty()) q.amax = parse_float(o.amax, "--amax");
  if (!o.tensor_amax.empty()) q.tensor_amax = parse_float(o.tensor_amax, "--tensor-amax");
  return q;
}

Outcome run(const Options& o) try {
  Outcome outcome;
  outcome.json["values"] = Json::array();
  for (const Explanation& e : explain(question(o), reference_kernels())) {
    outcome.json["values"].push_back(to_json(e));
    outcome.text += (outcome.text.empty() ? "" : "\n") + describe(e);
  }
  return outcome;
} catch (const std::invalid_argument& e) {
  const std::string what = e.what();
  throw UsageError((what.starts_with("amax") ? "--" : "") + what);
}

}  // namespace

Run declare_explain(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("VALUE", o->values, "decimal, hexadecimal (0x1.8p3), inf or nan")->required();
  app.add_option("--amax", o->amax,
                 "largest magnitude of the value's block; without it, of the values given");
  app.add_option("--tensor-amax", o->tensor_amax, "largest magnitude of the tensor; without it, the block's");
  app.add_option("--dialect", o->profile.dialect, "order of operations; see nvfp4 dialects")
      ->capture_default_str();
  app.add_option("--dtype", o->dtype, "float32|bf16|float16: of the tensor; some dialects compute in it")
      ->capture_default_str();
  app.add_option("--random", o->random, "stochastic rounding by this byte, such as 0x9E");
  app.add_option("--sr-rule", o->profile.sr_rule, "carry|te_software: how the byte rounds; carry without it");
  app.add_option("--e4m3-max", o->profile.e4m3_max, "448|256: of the 4over6 dialects")->capture_default_str();
  app.add_option("--select", o->profile.select, "mae|mse: of the 4over6 dialects")->capture_default_str();
  app.add_flag("--error-fast", o->profile.error_fast, "of the 4over6 dialects");
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
