#include <doctest/doctest.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <functional>
#include <random>

#include <nvfp4/nvfp4.hpp>

#include "tests/adversary.hpp"
#include "tests/exactly.hpp"

/// Errors against their bounds: errors are integers here, and the only inequality is error <= bound.
using namespace nvfp4;
using adversary::Adversary, adversary::bits, adversary::code_of, adversary::Codes;
using exact_integers::cpp_int, exact_integers::exactly;

namespace {

double ratio_of(const cpp_int& error, double bound) {
  return error == 0             ? 0
         : std::isfinite(bound) ? error.convert_to<double>() / exactly(bound).convert_to<double>()
                                : 0;
}

/// One output: what a model was given and gave.
struct Output {
  std::vector<double> p, alignments;
  double c = 0, d = 0;

  bool finite() const {
    return std::isfinite(c) && std::isfinite(d) &&
           std::ranges::all_of(p, [](double x) { return std::isfinite(x); });
  }
  cpp_int error() const {
    cpp_int sum = exactly(c);
    for (const double x : p) sum += exactly(x);
    return abs(exactly(d) - sum);
  }
  Products all() const { return products(p, alignments); }
  std::vector<Products> instructions(const Accumulation& acc) const {
    std::vector<Products> parts;
    const auto whole = static_cast<std::size_t>(acc.k);
    for (std::size_t k = 0; k < p.size(); k += whole) {
      const std::size_t n = std::min(whole, p.size() - k);
      parts.push_back(alignments.empty()
                          ? products(std::span(p).subspan(k, n))
                          : products(std::span(p).subspan(k, n), std::span(alignments).subspan(k, n)));
    }
    return parts;
  }
};

double value_of(std::uint64_t code, Format format) {
  const auto bits = static_cast<std::uint32_t>(code);
  float value = 0;
  cpu_kernels().decode({&bits, 1}, format, {&value, 1});
  return value;
}

/// 2^e, e the exponent field.
double alignment_of(double x, Format format) {
  if (format == Format::e8m0) return x;
  const int least = 1 - info(format).bias;
  return std::ldexp(1, x == 0 || !std::isfinite(x) ? least : std::max(std::ilogb(x), least));
}

/// A row of an operand of an instruction: values with their scales, and what aligns them.
struct Row {
  std::vector<double> values, alignments;

  Row(std::span<const std::uint64_t> codes, Format format, std::span<const std::uint8_t> scales,
      const MmaOperands& x, const Accumulation& acc) {
    for (std::size_t k = 0; k < codes.size(); ++k) {
      const double element = value_of(codes[k], format);
      const double scale = x.scale ? value_of(scales[k / static_cast<std::size_t>(x.block)], *x.scale) : 1;
      values.push_back(element * scale);
      alignments.push_back((x.scale ? alignment_of(scale, *x.scale) : 1) *
                           (acc.align == Align::group ? 1 : alignment_of(element, format)));
    }
  }
};

std::vector<Row> rows_of(std::span<const std::uint64_t> codes, Format format,
                         std::span<const std::uint8_t> scales, const MmaOperands& x,
                         const Accumulation& acc) {
  std::vector<Row> rows;
  const auto k = static_cast<std::size_t>(x.k);
  const std::size_t blocks =
      x.scale ? (k + static_cast<std::size_t>(x.block) - 1) / static_cast<std::size_t>(x.block) : 0;
  for (std::size_t i = 0; i < codes.size() / k; ++i)
    rows.emplace_back(codes.subspan(i * k, k), format, scales.subspan(i * blocks, blocks), x, acc);
  return rows;
}

double accumulator_value(std::uint64_t code, const Accumulation& acc) {
  return acc.out == Conversion::rne_fp16 ? value_of(code, Format::fp16)
                                         : std::bit_cast<float>(static_cast<std::uint32_t>(code));
}

void for_each_output(const MmaOperands& x, const Accumulation& acc,
                     const std::function<void(const Output&)>& use) {
  const Codes d = cpu_kernels().mma(x, acc, false);
  const std::vector<Row> a = rows_of(x.a, x.a_format, x.a_scales, x, acc),
                         b = rows_of(x.b, x.b_format, x.b_scales, x, acc);
  Output out;
  for (std::size_t n = 0; n < d.size(); ++n) {
    const auto cols = static_cast<std::size_t>(x.cols), tile = static_cast<std::size_t>(x.rows) * cols;
    const Row &left = a[n / cols], &right = b[n / tile * cols + n % cols];
    out.c = accumulator_value(x.c[n], acc), out.d = accumulator_value(d[n], acc);
    out.p.clear(), out.alignments.clear();
    for (std::size_t k = 0; k < left.values.size(); ++k) {
      out.p.push_back(left.values[k] * right.values[k]);
      out.alignments.push_back(left.alignments[k] * right.alignments[k]);
    }
    if (out.finite()) use(out);
  }
}

/// Outputs, those whose error exceeds the bound, and the largest error over a bound.
struct Tally {
  std::int64_t outputs = 0, violated = 0, exact = 0;
  double worst = 0;

  void add(const cpp_int& error, double bound) {
    ++outputs;
    exact += bound == 0;
    if (std::isfinite(bound) && error > exactly(bound)) ++violated;
    worst = std::max(worst, ratio_of(error, bound));
  }
};

/// Bounds of k in order, and of any order, of what an adversary thinks of.
Tally tally(const Accumulation& acc, Format format, int rounds, unsigned seed) {
  Adversary adversary(seed);
  Tally found;
  for (int round = 0; round < rounds; ++round) {
    Accumulation scaled = acc;
    if (takes_all(acc) && format != Format::fp16 && adversary.below(2))
      scaled.scale = format == Format::e2m1 && adversary.below(2) ? Format::ue4m3 : Format::e8m0,
      scaled.block = 16;
    const std::int64_t k = 1 + adversary.below(3 * static_cast<std::uint32_t>(std::max(acc.k, 8)));
    const MmaOperands x = adversary.operands(scaled, format, 2, k, 16, 16);
    for_each_output(x, scaled, [&](const Output& out) {
      const cpp_int error = out.error();
      found.add(error, accumulation_bound(scaled, out.instructions(scaled), out.c).worst);
      const double any = accumulation_bound(scaled, out.all(), out.c).worst;
      if (std::isfinite(any) && error > exactly(any)) ++found.violated;
      if (out.c == 0 && !within_any_order(static_cast<float>(out.d), out.p, scaled, out.alignments))
        ++found.violated;
    });
  }
  return found;
}

/// Eight instructions that each take the same products, one or as many as there are, added to a power of two: at
/// some of these each product lies just below a unit of the alignment, or their sum below one of C.
class Worst {
 public:
  Worst(const Accumulation& acc, Format format, unsigned seed) : random_(seed) {
    x_ = {.tiles = 384,
          .k = 8 * std::max(acc.k, 1),
          .a_format = format,
          .b_format = format,
          .scale = acc.scale};
    const auto k = static_cast<std::size_t>(x_.k);
    if (acc.scale) x_.block = acc.block;
    for (std::int64_t tile = 0; tile < x_.tiles; ++tile) {
      const std::uint64_t a = element(format), b = element(format);
      const bool one = random_() % 2;
      for (std::size_t n = 0; n < k; ++n) {
        const bool zero = one && n % static_cast<std::size_t>(acc.k) != 0;
        a_.push_back(zero ? 0 : a), b_.push_back(b);
      }
      const float c = std::ldexp(1.f, static_cast<int>(random_() % 50) - 15);
      c_.push_back(acc.out == Conversion::rne_fp16 ? code_of(std::min(c, 0x1p14f), Format::fp16) : bits(c));
    }
    const std::size_t blocks = acc.scale ? k / static_cast<std::size_t>(x_.block) : 0;
    scales_.assign(static_cast<std::size_t>(x_.tiles) * blocks, acc.scale == Format::e8m0 ? 127 : 0x38);
    x_.a = a_, x_.b = b_, x_.c = c_, x_.a_scales = x_.b_scales = scales_;
  }
  /// What the model does, held against the bound of `bounded`.
  Tally by(const Accumulation& acc, const Accumulation& bounded) const {
    Tally found;
    for_each_output(x_, acc, [&](const Output& out) {
      found.add(out.error(), accumulation_bound(bounded, out.all(), out.c).worst);
    });
    return found;
  }

 private:
  std::uint64_t element(Format format) {
    return code_of(std::ldexp(static_cast<float>(8 + random_() % 8), static_cast<int>(random_() % 16) - 11),
                   format);
  }
  std::mt19937_64 random_;
  Codes a_, b_, c_;
  std::vector<std::uint8_t> scales_;
  MmaOperands x_;
};

Format widest_element(const Accumulation& acc) {
  return acc.elements.empty() ? Format::bf16 : acc.elements[0];
}

}  // namespace

TEST_CASE("bound: never violated by a million random and adversarial products of every model" *
          doctest::test_suite("sweep")) {
  Tally all;
  unsigned seed = 0;
  const auto run = [&](const Accumulation& acc) {
    for (const Format format : adversary::elements_of(acc)) {
      const Tally found = tally(acc, format, 60, ++seed);
      CAPTURE(acc.name);
      CAPTURE(info(format).name);
      CHECK(found.violated == 0);
      CHECK(found.worst > 0);
      all.outputs += found.outputs;
    }
  };
  for (const Accumulation& acc : accumulations()) {
    if (acc.sum == Summation::fp64_fma) continue;
    run(acc);
    if (acc.has_fp16) run(fp16_accumulator(acc));
  }
  CHECK(all.outputs >= 1000000);
}

TEST_CASE("bound: never violated by models that nobody has built" * doctest::test_suite("sweep")) {
  unsigned seed = 1000;
  for (const char* model :
       {"sm90_bf16", "sm90_fp8", "sm90_fp8_mma", "sm100_nvfp4", "sm100_mxfp4", "sm100_mxf8f6f4"})
    for (const AlignRounding rounding :
         {AlignRounding::toward_zero, AlignRounding::floor, AlignRounding::nearest_even})
      for (const ZeroRule rule : {ZeroRule::zero_products, ZeroRule::zero_sum, ZeroRule::never})
        for (const bool flag : {false, true}) {
          Accumulation acc = *find_accumulation(model);
          acc.align_rounding = rounding, acc.zero_rule = rule, acc.c_in_sum = acc.c_in_sum != flag;
          acc.fraction_bits -= flag ? 6 : 1;
          if (flag && acc.align == Align::group) acc.align = Align::product, acc.group = 1;
          CAPTURE(model);
          CAPTURE(static_cast<int>(rounding));
          CAPTURE(static_cast<int>(rule));
          CAPTURE(flag);
          CHECK(tally(acc, acc.elements[0], 2, ++seed).violated == 0);
        }
}

TEST_CASE("bound: the worst chain of eight instructions comes within a factor of two of it" *
          doctest::test_suite("sweep")) {
  for (const Accumulation& each : accumulations())
    for (const bool fp16 : {false, true}) {
      if (each.sum == Summation::fp64_fma || (fp16 && !each.has_fp16)) continue;
      const Accumulation acc = fp16 ? fp16_accumulator(each) : each;
      const Tally found = Worst(acc, widest_element(acc), 5).by(acc, acc);
      CAPTURE(acc.name);
      CAPTURE(fp16);
      CAPTURE(found.worst);
      CHECK(found.violated == 0);
      CHECK(found.worst >= 0.5);
    }
}

TEST_CASE("bound: FP32 operands, whose products round, and FP64") {
  std::mt19937_64 random(9);
  Tally fp32, fp64;
  const auto number = [&](int bits, unsigned binades) {
    const auto significand = static_cast<double>(random() % (1u << bits));
    return std::ldexp((random() % 2 ? 1 : -1) * significand, -static_cast<int>(random() % binades) - bits);
  };
  const Accumulation &chain = *find_accumulation("fp32_in_order"), &fma = *find_accumulation("sm80_fp64");
  for (int round = 0; round < 3000; ++round) {
    const std::size_t k = 1 + random() % 40;
    Matrix a(1, static_cast<std::int64_t>(k)), b(1, static_cast<std::int64_t>(k));
    Codes wide_a, wide_b;
    std::vector<double> narrow, wide;
    for (std::size_t n = 0; n < k; ++n) {
      a.f32()[n] = static_cast<float>(number(24, round % 2 ? 90 : 3)),
      b.f32()[n] = static_cast<float>(number(24, 3));
      narrow.push_back(static_cast<double>(a.f32()[n]) * b.f32()[n]);
      const double x = number(26, 20), y = number(26, 20);
      wide.push_back(x * y);
      wide_a.push_back(std::bit_cast<std::uint64_t>(x)), wide_b.push_back(std::bit_cast<std::uint64_t>(y));
    }
    const Output by_chain{narrow, {}, 0, cpu_kernels().multiply_dense(a.view(), b.view(), chain).f32()[0]};
    fp32.add(by_chain.error(), accumulation_bound(chain, by_chain.instructions(chain)).worst);
    const std::uint64_t zero = 0;
    MmaOperands x{.k = static_cast<std::int64_t>(k)};
    x.a = wide_a, x.b = wide_b, x.c = {&zero, 1};
    const Output by_fma{wide, {}, 0, std::bit_cast<double>(cpu_kernels().mma(x, fma, false)[0])};
    fp64.add(by_fma.error(), accumulation_bound(fma, by_fma.instructions(fma)).worst);
  }
  CHECK(fp32.violated == 0);
  CHECK(fp64.violated == 0);
  CHECK(fp32.worst > 0.4);
  CHECK(fp64.worst > 0.4);
}

TEST_CASE("bound: wrong ones are violated" * doctest::test_suite("sweep")) {
  const auto violated = [](const char* model, auto change) {
    const Accumulation acc = *find_accumulation(model);
    Accumulation wrong = acc;
    change(wrong);
    const Worst inputs(acc, widest_element(acc), 5);
    CHECK(inputs.by(acc, acc).violated == 0);
    return inputs.by(acc, wrong).violated > 0;
  };
  for (const char* model : {"sm100_nvfp4", "sm100_bf16", "sm100_f8f6f4"}) {
    CAPTURE(model);
    CHECK(violated(
        model, [](Accumulation& acc) { acc.out = Conversion::rne_fp32; }));  // half of each truncation of C
    CHECK(violated(
        model, [](Accumulation& acc) { acc.k *= 2, acc.step *= 2, acc.group *= 2; }));  // half of the steps
  }
  for (const char* model : {"sm90_fp8", "sm89_fp8", "sm80_bf16"}) {
    CAPTURE(model);
    CHECK(violated(model, [](Accumulation& acc) { ++acc.fraction_bits; }));
    CHECK(violated(model, [](Accumulation& acc) { acc.align_rounding = AlignRounding::nearest_even; }));
  }
  CHECK(violated("sm100_nvfp4_chunk64", [](Accumulation& acc) { acc.sum = Summation::exact; }));
}

namespace {

/// a chain's result of products p, and their exact sum, in FP32 in order.
struct Chain {
  std::vector<double> p;
  float result = 0;
  cpp_int exact;

  void add(double x) {
    p.push_back(x);
    result += static_cast<float>(x);
    exact += exactly(x);
  }
  cpp_int error() const { return abs(exactly(result) - exact); }
};

std::vector<double> cancelling(std::mt19937_64& random, std::size_t n) {
  std::vector<double> p;
  for (std::size_t i = 0; i < n; ++i)
    p.push_back(
        std::ldexp(static_cast<double>(random() % 4096) - 2048, static_cast<int>(random() % 30) - 15));
  for (std::size_t i = 0; i + 1 < n; i += 3) p[i + 1] = -p[i];
  return p;
}

/// Two of the numbers become their FP32 sum until one is left.
float by_any_tree(std::vector<double> p, std::mt19937_64& random) {
  std::vector<float> x(p.begin(), p.end());
  while (x.size() > 1) {
    std::swap(x[random() % x.size()], x.back());
    const float last = x.back();
    x.pop_back();
    x[random() % x.size()] += last;
  }
  return x[0];
}

}  // namespace

TEST_CASE("bound: the exact sum is one number where binary64 has it, else enclosed") {
  CHECK(exact_sum(std::vector<double>{}).high == 0);
  const Interval one = exact_sum(std::vector{0x1p52, 1., -0x1p52});
  CHECK(one.low == 1);
  CHECK(one.high == 1);
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<double> p = cancelling(random, 1 + random() % 60);
    for (double& x : p) x = std::ldexp(x + 1 / 3., static_cast<int>(random() % 80));
    cpp_int sum = 0;
    for (const double x : p) sum += exactly(x);
    const Interval found = exact_sum(p);
    CHECK(exactly(found.low) <= sum);
    CHECK(sum <= exactly(found.high));
  }
}

TEST_CASE("bound: every tree of FP32 additions falls within any order") {
  const Accumulation& chain = *find_accumulation("fp32_in_order");
  std::mt19937_64 random(2);
  std::int64_t outside = 0, inexact = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::vector<double> p = cancelling(random, 2 + random() % 40);
    const Interval any = any_order(p, chain);
    const float sum = by_any_tree(p, random);
    outside += !any.contains(sum);
    inexact += any.low != any.high;
  }
  CHECK(outside == 0);
  CHECK(inexact > 10000);
  CHECK(within_any_order(3, std::vector{1., 2.}, chain));
  CHECK_FALSE(within_any_order(3.0000002f, std::vector{1., 2.}, chain));
  CHECK_FALSE(within_any_order(NAN, std::vector{1., 2.}, chain));
}

TEST_CASE("bound: orders that lose everything and nothing lie within four times their distance") {
  std::vector<double> p(1000, 2);
  p.insert(p.begin(), 0x1p25), p.push_back(-0x1p25);  // in this order 0; the twos first, 2000
  const Interval any = any_order(p, *find_accumulation("fp32_in_order"));
  CHECK(any.contains(0));
  CHECK(any.contains(2000));
  CHECK(any.high - any.low <= 4.01 * 2000);
}

TEST_CASE("bound: the caller's rounding mode changes none") {
  const std::vector<double> p(100, 1 / 3.);
  const Accumulation& acc = *find_accumulation("fp32_in_order");
  const auto all = [&] {
    const ErrorBound b = accumulation_bound(acc, products(p));
    return std::vector{b.worst,
                       b.square,
                       b.probable(0.9),
                       exact_sum(p).low,
                       any_order(p, acc).high,
                       element_bound({}, 1.1, 0.3).worst,
                       tensor_bound({}, 1.1f).element.worst};
  };
  const std::vector<double> expected = all();
  std::fesetround(FE_DOWNWARD);
  const std::vector<double> downward = all();
  std::fesetround(FE_TONEAREST);
  CHECK(downward == expected);
}

TEST_CASE("bound: probable errors are exceeded as seldom as they say, and truncation has a bias") {
  const Accumulation &nearest = *find_accumulation("fp32_in_order"),
                     &truncating = *find_accumulation("sm100_bf16");
  std::mt19937_64 random(3);
  std::int64_t beyond = 0, truncated_beyond = 0, beyond_root = 0;
  constexpr int samples = 1000;
  for (int sample = 0; sample < samples; ++sample) {
    Chain chain;
    for (int k = 0; k < 512; ++k) chain.add(std::ldexp(static_cast<double>(random() % 4096), -12));
    beyond += chain.error() > exactly(accumulation_bound(nearest, products(chain.p)).probable(0.9));
    Codes a, b(512, code_of(1, Format::bf16));
    std::vector<double> p;
    const std::uint64_t c = bits(1024);
    for (int k = 0; k < 512; ++k) {
      a.push_back(0x3B00 + random() % 0x80);  // 2^-9 to 2^-8
      p.push_back(value_of(a.back(), Format::bf16));
    }
    MmaOperands x{.k = 512, .a_format = Format::bf16, .b_format = Format::bf16};
    x.a = a, x.b = b, x.c = {&c, 1};
    cpp_int error =
        exactly(1024) - exactly(accumulator_value(cpu_kernels().mma(x, truncating, false)[0], truncating));
    for (const double each : p) error += exactly(each);
    ErrorBound bound = accumulation_bound(truncating, products(p), 1024);
    truncated_beyond += abs(error) > exactly(bound.probable(0.9));
    bound.bias = 0;
    beyond_root += abs(error) > exactly(bound.probable(0.9));
  }
  CHECK(beyond * 10 <= samples);
  CHECK(truncated_beyond * 10 <= samples);
  CHECK(beyond_root > samples / 2);
}
