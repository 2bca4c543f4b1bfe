#include <bit>
#include <cmath>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <nvfp4/dialects/all.hpp>

#include "number.hpp"
#include "profile.hpp"
#include "rounding_story.hpp"
#include "terminal.hpp"
#include "traced_number.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::vector<std::string> values;
  std::string amax, tensor_amax, dialect = "te";
};

/// One element and the two maxima that it meets.
struct Question {
  const Dialect* dialect;
  float value, amax, tensor_amax;
};

struct Answer {
  Trace tensor, block, element, dequantize;
  std::uint32_t scale = 0, code = 0;
  float result = 0;
};

/// Whether a NaN makes every maximum of the dialect NaN; else maxima drop it.
bool nan_poisons(const Dialect& dialect) {
  static constexpr auto by_dialect = Dialects::table([]<class D>(D) { return D::nan_in_amax; });
  return by_dialect[index_of(dialect)];
}

float decode(std::uint32_t code, Format format) {
  float value;
  reference_kernels().decode({&code, 1}, format, {&value, 1});
  return value;
}

template <class D>
Answer answer_by(const Question& q) {
  using N = TracedNumber;
  Trace trace;
  const auto section = [&] { return std::exchange(trace, {}); };
  Answer a;
  const auto tensor = D::tensor(N(q.tensor_amax, &trace));
  a.tensor = section();
  const auto scale = D::block(N(q.amax, &trace), tensor);
  a.block = section();
  a.scale = scale.code.bits;
  a.code = D::element(N(q.value, &trace), scale.encode).bits;
  a.element = section();
  a.result = D::dequantize(N(decode(a.code, Format::e2m1), &trace), N(decode(a.scale, Format::e4m3), &trace),
                           N(q.tensor_amax, &trace))
                 .value;
  a.dequantize = section();
  return a;
}

/// The reference quantizes a block that holds the value and its amax; it must agree with the walk.
void require_reference(const Question& q, const Answer& a) {
  Matrix x(1, 32);
  x.f32()[0] = q.value;
  x.f32()[1] = q.amax;
  QuantizeSpec spec{.dialect = q.dialect};
  if (std::isnan(q.tensor_amax))
    x.f32()[16] = q.tensor_amax;
  else
    spec.amax = q.tensor_amax;
  const BlockScaledTensor t = reference_kernels().quantize(x.view(), spec, {});
  const Matrix value = reference_kernels().dequantize(t);
  if (t.scales[0] != a.scale || (t.codes[0] & 15u) != a.code ||
      std::bit_cast<std::uint32_t>(value.f32()[0]) != std::bit_cast<std::uint32_t>(a.result))
    throw std::logic_error("explain and the reference disagree: a defect of this program");
}

void require_possible(const Question& q) {
  const std::string dialect(q.dialect->name);
  for (const float maximum : {q.amax, q.tensor_amax})
    if (std::isnan(maximum) && !nan_poisons(*q.dialect))
      throw UsageError("amax nan: " + dialect + " drops NaN from maxima: expected a number");
  if (q.amax < 0 || q.tensor_amax < 0)
    throw UsageError("--amax and --tensor-amax are maxima of |x|: expected 0 or more");
  if (std::fabs(q.value) > q.amax)
    throw UsageError("--amax " + shortest(q.amax) + " is below |" + shortest(q.value) +
                     "|: expected the block's largest magnitude");
}

std::string line(const std::string& left, const std::string& right) {
  return "  " + left + std::string(left.size() < 36 ? 36 - left.size() : 1, ' ') + right + '\n';
}

std::string number_text(float value) {
  return shortest(value) + "  " + hex32(std::bit_cast<std::uint32_t>(value));
}

Json to_json(const Step& step) {
  Json json{{"step", step.text},
            {"value", shortest(step.value)},
            {"bits", hex32(std::bit_cast<std::uint32_t>(step.value))}};
  if (step.kind != Step::Kind::rounding) return json;
  const RoundingStory story = rounding_story(step.value, step.format, step.code);
  json.update({{"code", hex8(step.code)},
               {"fields", bit_fields(step.code, step.format)},
               {"neighbours", {story.low, story.high}},
               {"tie", story.tie},
               {"why", story.why}});
  return json;
}

std::string to_text(const Step& step) {
  if (step.kind != Step::Kind::rounding) return line(step.text, "= " + number_text(step.value));
  const RoundingStory story = rounding_story(step.value, step.format, step.code);
  std::string text = line(step.text, story.low == story.high
                                         ? story.why
                                         : shortest(story.low) + " < " + shortest(std::fabs(step.value)) +
                                               " < " + shortest(story.high));
  if (story.low != story.high) text += line("", story.why);
  return text + line("", "code " + hex8(step.code) + "  " + bit_fields(step.code, step.format));
}

Json to_json(const Trace& trace) {
  Json json = Json::array();
  for (const Step& step : trace) json.push_back(to_json(step));
  return json;
}

std::string to_text(const std::string& title, const Trace& trace) {
  std::string text = title + '\n';
  for (const Step& step : trace) text += to_text(step);
  return text;
}

Json to_json(const Question& q, const Answer& a) {
  return {{"value", shortest(q.value)},
          {"bits", hex32(std::bit_cast<std::uint32_t>(q.value))},
          {"amax", shortest(q.amax)},
          {"tensor_amax", shortest(q.tensor_amax)},
          {"dialect", q.dialect->name},
          {"tensor_scale", to_json(a.tensor)},
          {"block_scale", to_json(a.block)},
          {"element", to_json(a.element)},
          {"dequantize", to_json(a.dequantize)},
          {"scale_code", a.scale},
          {"code", a.code},
          {"result", shortest(a.result)},
          {"error", static_cast<double>(a.result) - q.value}};
}

std::string error_text(const Question& q, const Answer& a) {
  const double error = static_cast<double>(a.result) - q.value;
  const std::string absolute = shortest(static_cast<float>(error));
  if (q.value == 0 || !std::isfinite(error)) return absolute;
  return absolute + "  (" + fixed(100 * error / std::fabs(q.value), 2) + "% of the value)";
}

std::string code_text(std::uint32_t code, Format format) {
  return hex8(code) + "  " + bit_fields(code, format) + "  = " + shortest(decode(code, format));
}

std::string result_text(const Question& q, const Answer& a) {
  return line("scale, E4M3", code_text(a.scale, Format::e4m3)) +
         line("code, E2M1", code_text(a.code, Format::e2m1)) + line("value", number_text(a.result)) +
         line("error", error_text(q, a));
}

std::string to_text(const Question& q, const Answer& a) {
  const std::string head =
      number_text(q.value) + " by " + std::string(q.dialect->name) + " " + std::string(q.dialect->version);
  return head + '\n' + to_text("tensor scale, of tensor amax " + number_text(q.tensor_amax), a.tensor) +
         to_text("block scale, of block amax " + number_text(q.amax), a.block) +
         to_text("element", a.element) + to_text("dequantize", a.dequantize) + "result\n" + result_text(q, a);
}

float largest(const std::vector<float>& values) {
  float amax = 0;
  for (const float value : values)
    if (std::fabs(value) > amax) amax = std::fabs(value);
  return amax;
}

Outcome run(const Options& o) {
  static constexpr auto by_dialect = Dialects::table([]<class D>(D) { return answer_by<D>; });
  const Dialect& dialect = dialect_named(o.dialect);
  std::vector<float> values;
  for (const std::string& text : o.values) values.push_back(parse_float(text, "VALUE"));
  const float amax = o.amax.empty() ? largest(values) : parse_float(o.amax, "--amax");
  const float tensor_amax = o.tensor_amax.empty() ? amax : parse_float(o.tensor_amax, "--tensor-amax");
  Outcome outcome;
  outcome.json["values"] = Json::array();
  for (const float value : values) {
    const Question question{&dialect, value, amax, tensor_amax};
    require_possible(question);
    const Answer answer = by_dialect[index_of(dialect)](question);
    require_reference(question, answer);
    outcome.json["values"].push_back(to_json(question, answer));
    outcome.text += (outcome.text.empty() ? "" : "\n") + to_text(question, answer);
  }
  return outcome;
}

}  // namespace

Run declare_explain(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("VALUE", o->values, "decimal, hexadecimal (0x1.8p3), inf or nan")->required();
  app.add_option("--amax", o->amax,
                 "largest magnitude of the value's block; without it, of the values given");
  app.add_option("--tensor-amax", o->tensor_amax, "largest magnitude of the tensor; without it, the block's");
  app.add_option("--dialect", o->dialect, "order of operations; see nvfp4 dialects")->capture_default_str();
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
