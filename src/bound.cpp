#include <nvfp4/bound.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include <nvfp4/mma.hpp>

#include "accumulator.hpp"
#include "float_environment.hpp"
#include "lowest_bit.hpp"
#include "upward.hpp"

/// The sums of docs/bounds.md 2 and 3.
namespace nvfp4 {
namespace {

using cpu::fp32, cpu::Grid, cpu::infinite, cpu::lost, cpu::lowest_bit, cpu::power_below, cpu::up;

/// Its smallest exponent is one above the format's, so that half a unit does not underflow.
constexpr Grid fp64{52, -1021, std::numeric_limits<double>::max()};

Grid grid(Conversion out) {
  const cpu::Target t = cpu::target(out);
  return {t.kept_bits, t.smallest_exponent, out == Conversion::rne_fp16 ? 65504 : fp32.largest};
}

/// The widest fraction, below the exponent by which it is aligned, of a product, a group or C.
int widest_term(const Accumulation& acc, bool starts_from_zero) {
  const cpu::Target t = cpu::target(acc.out);
  int bits = starts_from_zero ? t.kept_bits : t.mantissa_bits;
  if (acc.align == Align::group) return std::max(bits, 8);  // 1/4 of the elements, 1/8 of each scale
  for (const Format f : acc.elements)
    bits = std::max(bits, 2 * info(f).mantissa_bits + (acc.scale ? 2 * info(*acc.scale).mantissa_bits : 0));
  return bits;
}

/// The errors of one output, added up as its sum proceeds.
class Sum {
 public:
  Sum(const Accumulation& acc, double c)
      : acc_(acc),
        out_(grid(acc.out)),
        to_nearest_(acc.out == Conversion::rne_fp16 || acc.out == Conversion::rne_fp32),
        lossy_(acc.step / acc.group + (acc.fraction_bits < widest_term(acc, c == 0))),
        magnitude_(std::abs(c)),
        quantum_(c == 0 ? infinite : std::ldexp(1, lowest_bit(c))) {}

  void add(Products p) {
    p.quantum = quantum_ = std::min(p.quantum, quantum_);
    switch (acc_.sum) {
      case Summation::aligned: return add_aligned(p);
      case Summation::chunks: return add_rounded(p, false);
      case Summation::fp32_in_order: return add_rounded(p, true);
      case Summation::exact: return add_at_once(p, fp32);
      case Summation::fp64_fma: return add_at_once(p, fp64);
    }
  }
  const ErrorBound& errors() const { return errors_; }

 private:
  void note(double loss, double count, bool to_nearest) {
    const double half = to_nearest ? loss : loss / 2, total = up(count * loss);
    errors_.worst = up(errors_.worst + total);
    if (!to_nearest) errors_.bias = up(errors_.bias + total / 2);
    const double squared = half > 0 ? std::nextafter(half * half, infinite) : 0;
    errors_.square = up(errors_.square + up(squared * count));
  }

  /// The bound of |sum| takes in what its own rounding may add; truncation adds nothing.
  void round(double& sum, const Grid& g, double quantum, bool to_nearest) {
    const double loss = lost(g.ulp(sum), quantum, to_nearest);
    note(loss, 1, to_nearest);
    if (to_nearest) sum = up(sum + loss);
  }

  /// 2^e_max, or more, of a step that starts from C up to `c`.
  double largest_exponent(double alignment, double c) const {
    const bool counts = c > 0 || acc_.zero_rule == ZeroRule::never;
    const int least = counts ? out_.smallest : acc_.zero_exponent;
    return std::max({alignment, power_below(c), std::ldexp(1, least)});
  }

  void add_step(double& sum, double magnitude, const Products& p) {
    const double unit = std::ldexp(largest_exponent(p.alignment, sum), -acc_.fraction_bits);
    const bool nearest = acc_.align_rounding == AlignRounding::nearest_even;
    const double loss = lost(unit, p.quantum, nearest);
    note(loss, lossy_, nearest);
    sum = up(sum + magnitude);
    if (acc_.align_rounding != AlignRounding::toward_zero) sum = up(sum + up(lossy_ * loss));
    round(sum, out_, p.quantum, to_nearest_);
  }

  /// All of an instruction's products as if in its first step, so that the order of its k does not matter.
  void add_aligned(const Products& p) {
    double sum = acc_.c_in_sum ? magnitude_ : 0;
    for (int step = 0; step < acc_.k / acc_.step; ++step) add_step(sum, step ? 0 : p.magnitude, p);
    if (acc_.c_in_sum) {
      magnitude_ = sum;
      return;
    }
    magnitude_ = up(magnitude_ + sum);
    round(magnitude_, {cpu::target(acc_.out).mantissa_bits, out_.smallest, out_.largest}, p.quantum, true);
  }

  /// One RNE of the products, then one addition. Relative to p, so that the bounds of parts add up to the whole's.
  void add_rounded(const Products& p, bool to_nearest) {
    const bool exact = p.quantum >= 0x1p-149 && p.magnitude <= std::ldexp(p.quantum, 24);
    const double loss = exact ? 0 : up(std::ldexp(p.magnitude, -24) + 0x1p-150);
    note(loss, 1, true);
    const bool first = magnitude_ == 0;
    magnitude_ = up(magnitude_ + up(p.magnitude + loss));
    if (magnitude_ > fp32.largest) note(infinite, 1, true);
    if (!first) round(magnitude_, fp32, p.quantum, to_nearest);
  }

  void add_at_once(const Products& p, const Grid& g) {
    magnitude_ = up(magnitude_ + p.magnitude);
    round(magnitude_, g, p.quantum, true);
  }

  const Accumulation& acc_;
  Grid out_;
  bool to_nearest_;
  double lossy_;  ///< terms of a step that may lose bits: the one of e_max does not, where F holds all of it
  double magnitude_;
  double quantum_;  ///< of C and all products so far
  ErrorBound errors_;
};

/// Instructions that products come in; `exact` takes all of them at once.
std::int64_t instruction_count(const Accumulation& acc, std::int64_t k) {
  return acc.sum == Summation::exact ? std::min<std::int64_t>(k, 1) : instructions(acc, k);
}

Products merged(std::span<const Products> parts) {
  Products all = parts.empty() ? Products{} : parts[0];
  for (const Products& p : parts.subspan(parts.empty() ? 0 : 1)) {
    all.count += p.count;
    all.magnitude = up(all.magnitude + p.magnitude);
    all.alignment = std::max(all.alignment, p.alignment);
    all.quantum = std::min(all.quantum, p.quantum);
  }
  return all;
}

float at_least(double x) {
  const auto y = static_cast<float>(x);
  return y < x ? std::nextafter(y, INFINITY) : y;
}

}  // namespace

double ErrorBound::probable(double probability) const {
  const cpu::FloatEnvironment fenced;
  if (!(probability < 1)) return worst;
  const double lambda = up(std::sqrt(up(2 * up(std::log(up(2 / (1 - probability)))))));
  return std::min(worst, up(bias + up(lambda * up(std::sqrt(square)))));
}

Products products(std::span<const double> p, std::span<const double> alignments) {
  const cpu::FloatEnvironment fenced;
  Products all{.count = static_cast<std::int64_t>(p.size()), .quantum = infinite};
  int quantum = std::numeric_limits<int>::max();
  for (std::size_t k = 0; k < p.size(); ++k) {
    const double x = std::abs(p[k]);
    all.alignment = std::max(all.alignment, alignments.empty() ? power_below(x) : alignments[k]);
    if (x == 0) continue;
    all.magnitude = up(all.magnitude + x);
    quantum = std::min(quantum, lowest_bit(x));
  }
  if (all.magnitude > 0) all.quantum = std::ldexp(1, quantum);
  return all;
}

ErrorBound accumulation_bound(const Accumulation& acc, const Products& all, double c) {
  const cpu::FloatEnvironment fenced;
  Sum sum(acc, c);
  Products each = all;
  for (std::int64_t n = instruction_count(acc, all.count); n > 0; --n) {
    sum.add(each);
    each.magnitude = 0;
  }
  return sum.errors();
}

ErrorBound accumulation_bound(const Accumulation& acc, std::span<const Products> instructions, double c) {
  const cpu::FloatEnvironment fenced;
  if (acc.sum == Summation::exact) return accumulation_bound(acc, merged(instructions), c);
  Sum sum(acc, c);
  for (const Products& p : instructions) sum.add(p);
  return sum.errors();
}

Interval exact_sum(std::span<const double> p) {
  const cpu::FloatEnvironment fenced;
  double sum = 0, rest = 0,
         size = 0;  // sum + the exact sum of what is left each time is the sum of p (Knuth's TwoSum)
  for (const double x : p) {
    const double next = sum + x, part = next - sum, left = (sum - (next - part)) + (x - part);
    sum = next;
    rest += left;
    size = up(size + std::abs(left));
  }
  if (size == 0) return {sum, sum};
  const double slack = up(size * up(std::ldexp(static_cast<double>(p.size()), -52)));  // gamma_n of `rest`
  return {std::nextafter(sum + std::nextafter(rest - slack, -infinite), -infinite),
          std::nextafter(sum + std::nextafter(rest + slack, infinite), infinite)};
}

Interval any_order(std::span<const double> p, const Accumulation& acc, std::span<const double> alignments) {
  const cpu::FloatEnvironment fenced;
  const double error = accumulation_bound(acc, products(p, alignments)).worst;
  const Interval exact = exact_sum(p);
  if (error == 0) return {at_least(exact.low), -at_least(-exact.high)};
  return {at_least(std::nextafter(exact.low - error, -infinite)),
          -at_least(-std::nextafter(exact.high + error, infinite))};
}

bool within_any_order(float value, std::span<const double> p, const Accumulation& acc,
                      std::span<const double> alignments) {
  return any_order(p, acc, alignments).contains(value);
}

}  // namespace nvfp4
