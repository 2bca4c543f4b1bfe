#include <nvfp4/explain.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <utility>

#include <nvfp4/dialects/all.hpp>

#include "float_environment.hpp"
#include "number_text.hpp"
#include "rounding_story.hpp"
#include "traced_number.hpp"

namespace nvfp4 {
namespace explained {
namespace {

/// One element of a block and the two maxima that it meets.
struct Question {
  QuantizeSpec spec;
  Dtype dtype;
  std::vector<float> block;  ///< the value's block, as far as it is known
  std::size_t at;            ///< of the value in it
  float amax, tensor_amax;
  std::uint32_t random;  ///< the value's byte, where elements are rounded at random
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
      throw std::invalid_argument(shortest(values[i]) + " is no " + std::string(name(dtype)) + " number");
    x.u16()[i] = static_cast<std::uint16_t>(code);
  }
  return x;
}

/// `judge` quantizes the block, with its amax, beside one that has the tensor's; it must agree with the walk.
void require_agreement(const Question& q, const Answer& a, const Kernels& judge) {
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
  const BlockScaledTensor t = judge.quantize(as_row(row, 2 * q.spec.block.cols, q.dtype).view(), spec, {});
  const Matrix value = judge.dequantize(t);
  const bool nibbles = info(spec.dialect->element).bits == 4;
  const std::uint32_t code = nibbles ? t.codes[q.at / 2] >> (q.at % 2 * 4) & 15u : t.codes[q.at];
  const auto settled = [](float y) { return std::isnan(y) ? 0x7FC00000u : std::bit_cast<std::uint32_t>(y); };
  if (t.scales[0] != a.scale || code != a.code || settled(value.f32()[q.at]) != settled(a.result))
    throw std::logic_error("explain and the " + std::string(judge.name) +
                           " disagree: a defect of this library");
}

bool has_nan(const std::vector<float>& values) {
  return std::ranges::any_of(values, [](float x) { return std::isnan(x); });
}

void require_possible(const Question& q) {
  const Dialect& d = *q.spec.dialect;
  const std::string dialect(d.name);
  for (const auto& [maximum, may_be_nan] :
       {std::pair{q.amax, d.nan_in_block_amax}, std::pair{q.tensor_amax, d.nan_in_tensor_amax}})
    if (std::isnan(maximum) && !may_be_nan)
      throw std::invalid_argument("amax nan: " + dialect + " drops NaN from maxima: expected a number");
  if (d.nan_in_block_amax && has_nan(q.block) && !std::isnan(q.amax))
    throw std::invalid_argument("amax " + shortest(q.amax) + ": " + dialect +
                                " takes NaN into maxima: expected nan, of a block that has one");
  if (q.amax < 0 || q.tensor_amax < 0)
    throw std::invalid_argument("amax and tensor-amax are maxima of |x|: expected 0 or more");
  if (std::fabs(q.value()) > q.amax)
    throw std::invalid_argument("amax " + shortest(q.amax) + " is below |" + shortest(q.value()) +
                                "|: expected the block's largest magnitude");
}

/// As a dialect takes it, in which NaN poisons a maximum or is dropped.
float largest(const std::vector<float>& values, bool nan_poisons) {
  if (nan_poisons && has_nan(values)) return NAN;
  float amax = 0;
  for (const float value : values)
    if (std::fabs(value) > amax) amax = std::fabs(value);
  return amax;
}

/// The values in their block, with its amax where none of them is that; a value alone where they are too many.
std::vector<Question> questions(const std::vector<float>& values, const Question& asked) {
  const auto is_amax = [&](float x) {
    return std::fabs(x) == asked.amax || (std::isnan(x) && std::isnan(asked.amax));
  };
  const auto complete = [&](std::vector<float> block) {
    if (std::ranges::none_of(block, is_amax)) block.push_back(asked.amax);
    return block;
  };
  const std::vector<float> together = complete(values);
  const bool fits = together.size() <= static_cast<std::size_t>(asked.spec.block.cols);
  std::vector<Question> list;
  for (std::size_t i = 0; i < values.size(); ++i) {
    Question& q = list.emplace_back(asked);
    q.block = fits ? together : complete({values[i]});
    q.at = fits ? i : 0;
  }
  return list;
}

std::vector<ExplainedStep> steps(const Trace& trace) {
  std::vector<ExplainedStep> all;
  for (const Step& from : trace) {
    ExplainedStep& step = all.emplace_back(ExplainedStep{.text = from.text, .value = from.value});
    if (from.kind != Step::Kind::rounding) continue;
    step.is_rounding = true;
    step.code = from.code;
    step.fields = bit_fields(from.code, from.format);
    if (from.nearest) step.story = rounding_story(from.value, from.format, from.code);
  }
  return all;
}

Explanation explanation(const Question& q, const Kernels& judge) {
  static constexpr auto by_dialect = Dialects::table([]<class D>(D) { return answer_by<D>; });
  require_possible(q);
  const Answer a = by_dialect[index_of(*q.spec.dialect)](q);
  require_agreement(q, a, judge);
  return {.spec = q.spec,
          .value = q.value(),
          .amax = q.amax,
          .tensor_amax = q.tensor_amax,
          .tensor_scale = steps(a.tensor),
          .block_scale = steps(a.block),
          .element = steps(a.element),
          .dequantize = steps(a.dequantize),
          .scale_code = a.scale,
          .code = a.code,
          .result = a.result};
}

std::string line(const std::string& left, const std::string& right) {
  return "  " + left + std::string(left.size() < 36 ? 36 - left.size() : 1, ' ') + right + '\n';
}

std::string number_text(float value) {
  return shortest(value) + "  " + hex32(std::bit_cast<std::uint32_t>(value));
}

std::string text_of(const ExplainedStep& step) {
  if (!step.is_rounding) return line(step.text, "= " + number_text(step.value));
  const std::string code = line("", "code " + hex8(step.code) + "  " + step.fields);
  if (!step.story) return line(step.text, number_text(step.value)) + code;
  const RoundingStory& story = *step.story;
  std::string text = line(step.text, story.low == story.high
                                         ? story.why
                                         : shortest(story.low) + " < " + shortest(std::fabs(step.value)) +
                                               " < " + shortest(story.high));
  if (story.low != story.high) text += line("", story.why);
  return text + code;
}

std::string text_of(const std::string& title, const std::vector<ExplainedStep>& steps) {
  std::string text = title + '\n';
  for (const ExplainedStep& step : steps) text += text_of(step);
  return text;
}

std::string error_text(const Explanation& e) {
  const double error = static_cast<double>(e.result) - e.value;
  const std::string absolute = shortest(static_cast<float>(error));
  if (e.value == 0 || !std::isfinite(error)) return absolute;
  return absolute + "  (" + fixed(100 * error / std::fabs(e.value), 2) + "% of the value)";
}

std::string format_name(Format format) {
  std::string text(info(format).name);
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::string code_text(std::uint32_t code, Format format) {
  return hex8(code) + "  " + bit_fields(code, format) + "  = " + shortest(decoded(code, format));
}

std::string result_text(const Explanation& e) {
  const Dialect& d = *e.spec.dialect;
  return line("scale, " + format_name(scale_format(d)), code_text(e.scale_code, scale_format(d))) +
         line("code, " + format_name(d.element), code_text(e.code, d.element)) +
         line("value", number_text(e.result)) + line("error", error_text(e));
}

}  // namespace
}  // namespace explained

std::vector<Explanation> explain(const ExplainQuestion& asked, const Kernels& judge) {
  const cpu::FloatEnvironment fenced;
  validate(asked.spec);
  const Dialect& d = *asked.spec.dialect;
  if (asked.spec.block.rows != 1) throw std::invalid_argument("explain walks through blocks of one row");
  explained::Question common{
      .spec = asked.spec,
      .dtype = asked.dtype,
      .block = {},
      .at = 0,
      .amax = asked.amax.value_or(explained::largest(asked.values, d.nan_in_block_amax)),
      .tensor_amax = 0,
      .random = asked.random};
  common.tensor_amax = asked.tensor_amax.value_or(
      asked.amax ? *asked.amax : explained::largest(asked.values, d.nan_in_tensor_amax));
  std::vector<Explanation> all;
  for (const explained::Question& q : explained::questions(asked.values, common))
    all.push_back(explained::explanation(q, judge));
  return all;
}

std::string describe(const Explanation& e) {
  using namespace explained;
  const std::string head = number_text(e.value) + " by " + std::string(e.spec.dialect->name) + " " +
                           std::string(e.spec.dialect->version);
  return head + '\n' + text_of("tensor scale, of tensor amax " + number_text(e.tensor_amax), e.tensor_scale) +
         text_of("block scale, of block amax " + number_text(e.amax), e.block_scale) +
         text_of("element", e.element) + text_of("dequantize", e.dequantize) + "result\n" + result_text(e);
}

}  // namespace nvfp4
