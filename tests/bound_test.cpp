#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>

#include <boost/multiprecision/cpp_int.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/adversary.hpp"

/// Errors against their bounds: errors are integers here, and the only inequality is error <= bound.
using namespace nvfp4;
using adversary::Adversary, adversary::bits, adversary::code_of, adversary::Codes;
using boost::multiprecision::cpp_int;

namespace {

/// Integers count units of 2^-640.
constexpr int unit = -640;

/// A finite x; what is below the unit is cut.
cpp_int exactly(double x) {
  int exponent = 0;
  const auto significand = static_cast<std::int64_t>(std::ldexp(std::frexp(x, &exponent), 53));
  const int shift = exponent - 53 - unit;
  const cpp_int magnitude = std::abs(significand);
  const cpp_int whole = shift >= 0 ? cpp_int(magnitude << shift) : cpp_int(magnitude >> -shift);
  return significand < 0 ? cpp_int(-whole) : whole;
}

double ratio_of(const cpp_int& error, double bound) {
  return error == 0 ? 0 : std::isfinite(bound) ? error.convert_to<double>() / exactly(bound).convert_to<double>() : 0;
}

/// One output: what a model was given and gave.
struct Output {
  std::vector<double> p, alignments;
  double c = 0, d = 0;

  bool finite() const {
    return std::isfinite(c) && std::isfinite(d) && std::ranges::all_of(p, [](double x) { return std::isfinite(x); });
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
      parts.push_back(products(std::span(p).subspan(k, n), std::span(alignments).subspan(k, n)));
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

  Row(std::span<const std::uint64_t> codes, Format format, std::span<const std::uint8_t> scales, const MmaOperands& x,
      const Accumulation& acc) {
    for (std::size_t k = 0; k < codes.size(); ++k) {
      const double element = value_of(codes[k], format);
      const double scale = x.scale ? value_of(scales[k / static_cast<std::size_t>(x.block)], *x.scale) : 1;
      values.push_back(element * scale);
      alignments.push_back((x.scale ? alignment_of(scale, *x.scale) : 1) *
                           (acc.align == Align::group ? 1 : alignment_of(element, format)));
    }
  }
};

std::vector<Row> rows_of(std::span<const std::uint64_t> codes, Format format, std::span<const std::uint8_t> scales,
                         const MmaOperands& x, const Accumulation& acc) {
  std::vector<Row> rows;
  const auto k = static_cast<std::size_t>(x.k);
  const std::size_t blocks = x.scale ? (k + static_cast<std::size_t>(x.block) - 1) / static_cast<std::size_t>(x.block) : 0;
  for (std::size_t i = 0; i < codes.size() / k; ++i)
    rows.emplace_back(codes.subspan(i * k, k), format, scales.subspan(i * blocks, blocks), x, acc);
  return rows;
}

double accumulator_value(std::uint64_t code, const Accumulation& acc) {
  return acc.out == Conversion::rne_fp16 ? value_of(code, Format::fp16) : std::bit_cast<float>(static_cast<std::uint32_t>(code));
}

void for_each_output(const MmaOperands& x, const Accumulation& acc, const std::function<void(const Output&)>& use) {
  const Codes d = cpu_kernels().mma(x, acc, false);
  const std::vector<Row> a = rows_of(x.a, x.a_format, x.a_scales, x, acc), b = rows_of(x.b, x.b_format, x.b_scales, x, acc);
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
      scaled.scale = format == Format::e2m1 && adversary.below(2) ? Format::ue4m3 : Format::e8m0, scaled.block = 16;
    const std::int64_t k = 1 + adversary.below(3 * static_cast<std::uint32_t>(std::max(acc.k, 8)));
    const MmaOperands x = adversary.operands(scaled, format, 2, k, 16, 16);
    for_each_output(x, scaled, [&](const Output& out) {
      const cpp_int error = out.error();
      found.add(error, accumulation_bound(scaled, out.instructions(scaled), out.c).worst);
      const double any = accumulation_bound(scaled, out.all(), out.c).worst;
      if (std::isfinite(any) && error > exactly(any)) ++found.violated;
      if (out.c == 0 && !within_any_order(static_cast<float>(out.d), out.p, scaled, out.alignments)) ++found.violated;
    });
  }
  return found;
}

}  // namespace

TEST_CASE("bound: never violated by a million random and adversarial products of every model" *
          doctest::test_suite("sweep")) {
  Tally all;
  unsigned seed = 0;
  const auto run = [&](const Accumulation& acc) {
    for (const Format format : adversary::elements_of(acc)) {
      const Tally found = tally(acc, format, 25, ++seed);
      CAPTURE(acc.name);
      CAPTURE(info(format).name);
      CHECK(found.violated == 0);
      CHECK(found.worst > 0);
      if (std::getenv("SHOW")) std::printf("%s %s %lld outputs, %lld exact, worst %.3f, violated %lld\n", std::string(acc.name).c_str(), std::string(info(format).name).c_str(), (long long)found.outputs, (long long)found.exact, found.worst, (long long)found.violated);
      all.outputs += found.outputs;
    }
  };
  for (const Accumulation& acc : accumulations()) {
    if (acc.sum == Summation::fp64_fma) continue;
    run(acc);
    if (acc.has_fp16) run(fp16_accumulator(acc));
  }
  CHECK(all.outputs >= 1000000);
  std::printf("%lld outputs\n", (long long)all.outputs);
}
