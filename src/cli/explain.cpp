#include <algorithm>
#include <bit>
#include <cctype>
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
  std::string amax, tensor_amax, random, dtype = "float32";
  ProfileOptions profile;
};

/// One element of a block and the two maxima that it meets.
struct Question {
  QuantizeSpec spec;
  Dtype dtype;
  std::vector<float> block;  ///< the value's block, as far as it is known
  std::size_t at;            ///< of the value in it
  float amax, tensor_amax;
  std::uint32_t random = 0;  ///< the value's byte, where elements are rounded at random
  float value() const { return block[at]; }
};

/// As dialects ask for a block's elements; what is not known is +0.
struct Elements {
  const std::vector<float>& block;
  int rows = 1;
  TracedNumber operator()(int, int col) const {
    return TracedNumber(static_cast<std::size_t>(col) < block.size() ? block[static_cast<std::size_t>(col)]
                                                                     : 0);
  }
};

struct Answer {
  Trace tensor, block, element, dequantize;
  std::uint32_t scale = 0, code = 0;
  float result = 0;
};

/// What a dialect does with the zeros of a block.
bool says_nothing(const Step& step) { return step.value == 0; }

template <class D, class Tensor>
BlockScale<TracedNumber> block_scale(TracedNumber amax, const Tensor& tensor,
                                     const std::vector<float>& block) {
  const Elements elements{block};
  if constexpr (requires { D::block(amax, tensor, elements); }) {
    const auto scale = D::block(amax, tensor, elements);
    if (amax.trace) std::erase_if(*amax.trace, says_nothing);
    return scale;
  } else {
    return D::block(amax, tensor);
  }
}

template <class D, class Tensor>
std::uint32_t element_code(const Question& q, TracedNumber x, TracedNumber encode, const Tensor& tensor) {
  if constexpr (D::info.stochastic)
    if (q.spec.stochastic)
      return e2m1_stochastic(D::scaled(x, encode, tensor), TracedCode(q.random), q.spec.stochastic->rule)
          .bits;
  return D::element(x, encode, tensor).bits;
}

template <class D>
Answer answer_by(const Question& q) {
  using N = TracedNumber;
  const Setting how = setting(q.spec, q.dtype);
  Trace trace;
  const auto section = [&] { return std::exchange(trace, {}); };
  Answer a;
  const auto tensor = D::tensor(N(q.tensor_amax, &trace), how);
  float global = 1;
  if constexpr (D::info.global_is != GlobalIs::none) global = tensor.global.value;
  a.tensor = section();
  const auto scale = block_scale<D>(N(q.amax, &trace), tensor, q.block);
  a.block = section();
  a.scale = scale.code.bits;
  a.code = element_code<D>(q, N(q.value(), &trace), scale.encode, tensor);
  a.element = section();
  a.result = D::dequantize(N(decoded(a.code, D::info.element), &trace),
                           N(decoded(a.scale, scale_format(D::info)), &trace), N(global, &trace), how)
                 .value;
  a.dequantize = section();
  return a;
}

/// The numbers as a matrix of one row, which must hold them exactly.
Matrix as_row(const std::vector<float>& values, std::int64_t cols, Dtype dtype) {
  Matrix x(1, cols, dtype);
  const Format format = dtype == Dtype::bf16 ? Format::bf16 : Format::fp16;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == Dtype::fp32) {
      x.f32()[i] = values[i];
      continue;
    }
    const std::uint32_t code = encoded(values[i], format, Rounding::nearest_even, Overflow::special);
    if (!std::isnan(values[i]) && decoded(code, format) != values[i])
      throw UsageError(shortest(values[i]) + " is no " + std::string(name(dtype)) + " number");
    x.u16()[i] = static_cast<std::uint16_t>(code);
  }
  return x;
}

/// The reference quantizes the block, with its amax, beside one that has the tensor's; it must agree with the
/// walk.
void require_reference(const Question& q, const Answer& a) {
  std::vector<float> row = q.block;
  row.resize(static_cast<std::size_t>(q.spec.block.cols));
  row.push_back(q.tensor_amax);
  QuantizeSpec spec = q.spec;
  const bool outside = spec.tensor_scale == TensorScale::tensor && !std::isnan(q.tensor_amax);
  if (outside) spec.amax = q.tensor_amax, row.pop_back();
  if (!outside && q.amax > q.tensor_amax) return;  // no row has such an amax of its own
  const std::vector<std::uint32_t> words(static_cast<std::size_t>(2 * q.spec.block.cols / 4),
                                         q.random * 0x01010101);
  if (spec.stochastic) spec.stochastic->from_caller = true, spec.stochastic->words = words;
  const BlockScaledTensor t =
      reference_kernels().quantize(as_row(row, 2 * q.spec.block.cols, q.dtype).view(), spec, {});
  const Matrix value = reference_kernels().dequantize(t);
  const bool nibbles = info(spec.dialect->element).bits == 4;
  const std::uint32_t code = nibbles ? t.codes[q.at / 2] >> (q.at % 2 * 4) & 15u : t.codes[q.at];
  const auto settled = [](float y) { return std::isnan(y) ? 0x7FC00000u : std::bit_cast<std::uint32_t>(y); };
  if (t.scales[0] != a.scale || code != a.code || settled(value.f32()[q.at]) != settled(a.result))
    throw std::logic_error("explain and the reference disagree: a defect of this program");
}

void require_possible(const Question& q) {
  const Dialect& d = *q.spec.dialect;
  const std::string dialect(d.name);
  for (const auto& [maximum, may_be_nan] :
       {std::pair{q.amax, d.nan_in_block_amax}, std::pair{q.tensor_amax, d.nan_in_tensor_amax}})
    if (std::isnan(maximum) && !may_be_nan)
      throw UsageError("amax nan: " + dialect + " drops NaN from maxima: expected a number");
  if (q.amax < 0 || q.tensor_amax < 0)
    throw UsageError("--amax and --tensor-amax are maxima of |x|: expected 0 or more");
  if (std::fabs(q.value()) > q.amax)
    throw UsageError("--amax " + shortest(q.amax) + " is below |" + shortest(q.value()) +
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
  if (!step.nearest) {
    json.update({{"code", hex8(step.code)}, {"fields", bit_fields(step.code, step.format)}});
    return json;
  }
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
  const std::string code = line("", "code " + hex8(step.code) + "  " + bit_fields(step.code, step.format));
  if (!step.nearest) return line(step.text, number_text(step.value)) + code;
  const RoundingStory story = rounding_story(step.value, step.format, step.code);
  std::string text = line(step.text, story.low == story.high
                                         ? story.why
                                         : shortest(story.low) + " < " + shortest(std::fabs(step.value)) +
                                               " < " + shortest(story.high));
  if (story.low != story.high) text += line("", story.why);
  return text + code;
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
  return {{"value", shortest(q.value())},
          {"bits", hex32(std::bit_cast<std::uint32_t>(q.value()))},
          {"amax", shortest(q.amax)},
          {"tensor_amax", shortest(q.tensor_amax)},
          {"dialect", q.spec.dialect->name},
          {"tensor_scale", to_json(a.tensor)},
          {"block_scale", to_json(a.block)},
          {"element", to_json(a.element)},
          {"dequantize", to_json(a.dequantize)},
          {"scale_code", a.scale},
          {"code", a.code},
          {"result", shortest(a.result)},
          {"error", static_cast<double>(a.result) - q.value()}};
}

std::string error_text(const Question& q, const Answer& a) {
  const double error = static_cast<double>(a.result) - q.value();
  const std::string absolute = shortest(static_cast<float>(error));
  if (q.value() == 0 || !std::isfinite(error)) return absolute;
  return absolute + "  (" + fixed(100 * error / std::fabs(q.value()), 2) + "% of the value)";
}

std::string format_name(Format format) {
  std::string text(info(format).name);
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::string code_text(std::uint32_t code, Format format) {
  return hex8(code) + "  " + bit_fields(code, format) + "  = " + shortest(decoded(code, format));
}

std::string result_text(const Question& q, const Answer& a) {
  const Dialect& d = *q.spec.dialect;
  return line("scale, " + format_name(scale_format(d)), code_text(a.scale, scale_format(d))) +
         line("code, " + format_name(d.element), code_text(a.code, d.element)) +
         line("value", number_text(a.result)) + line("error", error_text(q, a));
}

std::string to_text(const Question& q, const Answer& a) {
  const std::string head = number_text(q.value()) + " by " + std::string(q.spec.dialect->name) + " " +
                           std::string(q.spec.dialect->version);
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

/// The values in their block, with its amax where none of them is that; a value alone where they are too many.
std::vector<Question> questions(const std::vector<float>& values, Question common) {
  const auto is_amax = [&](float x) {
    return std::fabs(x) == common.amax || (std::isnan(x) && std::isnan(common.amax));
  };
  const auto complete = [&](std::vector<float> block) {
    if (std::ranges::none_of(block, is_amax)) block.push_back(common.amax);
    return block;
  };
  const std::vector<float> together = complete(values);
  const bool fits = together.size() <= static_cast<std::size_t>(common.spec.block.cols);
  std::vector<Question> list;
  for (std::size_t i = 0; i < values.size(); ++i) {
    Question& q = list.emplace_back(common);
    q.block = fits ? together : complete({values[i]});
    q.at = fits ? i : 0;
  }
  return list;
}

std::uint32_t parse_byte(const std::string& text) {
  std::size_t end = 0;
  unsigned long value = 256;
  try {
    value = std::stoul(text, &end, 0);
  } catch (const std::logic_error&) {
  }
  if (end != text.size() || value > 255 || text.starts_with('-'))
    throw UsageError("--random " + text + ": expected a byte, 0 to 255 or 0x00 to 0xFF");
  return static_cast<std::uint32_t>(value);
}

Outcome run(const Options& o) {
  static constexpr auto by_dialect = Dialects::table([]<class D>(D) { return answer_by<D>; });
  ProfileOptions by = o.profile;
  if (!o.random.empty()) by.rounding = "sr";
  Question common{.spec = profile(by).spec,
                  .dtype = dtype_named(o.dtype).value_or(Dtype::fp32),
                  .block = {},
                  .at = 0,
                  .amax = 0,
                  .tensor_amax = 0};
  if (!o.random.empty()) common.random = parse_byte(o.random);
  if (common.spec.block.rows != 1) throw UsageError("--block: explain walks through blocks of one row");
  std::vector<float> values;
  for (const std::string& text : o.values) values.push_back(parse_float(text, "VALUE"));
  common.amax = o.amax.empty() ? largest(values) : parse_float(o.amax, "--amax");
  common.tensor_amax = o.tensor_amax.empty() ? common.amax : parse_float(o.tensor_amax, "--tensor-amax");
  Outcome outcome;
  outcome.json["values"] = Json::array();
  for (const Question& question : questions(values, common)) {
    require_possible(question);
    const Answer answer = by_dialect[index_of(*common.spec.dialect)](question);
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
