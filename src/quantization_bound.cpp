#include <nvfp4/bound.hpp>

#include <algorithm>
#include <array>
#include <cmath>

#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"
#include "upward.hpp"

/// docs/bounds.md 1.
namespace nvfp4 {
namespace {

using cpu::infinite, cpu::least_unit, cpu::up;

/// How far the multiplier that an element meets may be from 1 / scale: a dialect's FP32 operations are fewer than 16;
/// some round to (or cut) BF16, or to the input's type, twice.
double slack(const Dialect& d, Dtype dtype) {
  const bool narrow = dtype != Dtype::fp32 && !d.name.starts_with("te");
  return narrow || d.bf16_steps ? 0x1p-7 : 0x1p-20;
}

/// The distance between the neighbours of y > 0 in a format, or of the numbers below y where it is one.
double gap(const FormatInfo& f, double y) {
  return std::ldexp(1, std::max(std::ilogb(y), 1 - f.bias) - f.mantissa_bits);
}
double gap_below(const FormatInfo& f, double y) { return gap(f, std::nextafter(y, 0)); }

/// The largest |y - Q(y)| for |y| <= reach.
double rounding_error(const FormatInfo& f, double reach, bool stochastic) {
  const double share = stochastic ? 1 : 0.5;
  if (reach == 0) return 0;
  if (reach > f.max) return std::max(share * gap_below(f, f.max), reach - f.max);
  const double g = gap(f, reach), low = std::floor(reach / g) * g, above = reach - low;
  const double below = low > 0 ? share * gap_below(f, low) : 0;
  return std::max(below, stochastic && above > 0 ? g : std::min(above, g / 2));
}

/// A code of fouroversix is cut from BF16 bits, so that 7 and more, which round to 8, are no longer 6.
bool wraps(const Dialect& d, double reach) {
  return d.bf16_steps && d.name.starts_with("fouroversix") && reach > 6.9;
}

/// The E4M3 number above the one of this code.
double next_scale(std::uint8_t code, double value) {
  return value + std::ldexp(1, std::max(code >> 3, 1) - 7 - 3);
}

double decoded(std::uint8_t byte, Format format) {
  const std::uint32_t code = byte;
  float value = 0;
  cpu_kernels().decode({&code, 1}, format, {&value, 1});
  return value;
}

bool rounds_scales_up(const Dialect& d) { return d.scale_rounding == Rounding::up; }

/// amax over an E8M0 scale: less than twice the power of two that the format's largest number begins with; not
/// above that number; or less than 1.75 times that power.
double e8m0_reach(const Dialect& d) {
  const double largest = info(d.element).max, power = cpu::power_below(largest);
  if (d.name == "mxfp4_unbiased") return 2 * power * 3 / 4;
  if (d.scale_rounding == Rounding::toward_zero) return 2 * power;
  return rounds_scales_up(d) ? largest : 1.75 * power;
}

/// Where a block's largest element is aimed at.
std::array<double, 2> targets(const Dialect& d) {
  if (d.name == "fouroversix_static4") return {4, 4};
  if (d.name == "fouroversix_unbiased" || d.name == "tetrajet_v2_unbiased") return {96. / 17, 96. / 17};
  if (d.name == "quartet2_eden") return {dialects::quartet2_eden::aim, dialects::quartet2_eden::aim};
  const bool chooses = d.four_over_six || d.name.starts_with("fouroversix_m") ||
                       d.name == "fouroversix_absmax" || d.name == "quartet2_4over6";
  return {6, chooses ? 4. : 6.};
}

/// amax / scale of blocks whose scale is a normal number.
struct Reach {
  double least, most;
};
Reach reach_of(const Dialect& d, double target) {
  if (d.scale == Format::e8m0) return {e8m0_reach(d) / 2, e8m0_reach(d)};
  if (rounds_scales_up(d)) return {target * 8 / 9, target};
  return {target * 17 / 18, target * 17 / 16};
}

/// The largest rounding_error(y) / y. Its pieces, constant or y - low, begin and end at multiples of half a gap, and a
/// stochastic one begins beside a number.
double relative_error(const FormatInfo& f, const Reach& reach, bool stochastic) {
  const auto at = [&](double y) { return rounding_error(f, y, stochastic) / y; };
  double worst = std::max(at(reach.least), at(reach.most));
  const double step = gap(f, reach.least) / 2;
  for (double y = std::ceil(reach.least / step) * step; y < reach.most; y += step)
    worst = std::max({worst, at(y), at(std::nextafter(y, infinite))});
  return up(worst);
}

/// Over every target of the dialect, with ends as far as its roundings may move them.
double relative_error(const QuantizeSpec& spec, Dtype dtype) {
  const Dialect& d = *spec.dialect;
  const double delta = slack(d, dtype);
  double worst = 0;
  for (const double target : targets(d)) {
    const Reach r = reach_of(d, target);
    const Reach wider{r.least * (1 - 2 * delta), r.most * (1 + 2 * delta)};
    worst = std::max(worst, relative_error(info(d.element), wider, spec.stochastic.has_value()));
  }
  return up(up(worst * (1 + delta)) + delta);
}

double least_reach(const Dialect& d, Dtype dtype) {
  const auto each = targets(d);
  return std::min(reach_of(d, each[0]).least, reach_of(d, each[1]).least) * (1 - 2 * slack(d, dtype));
}

/// The tensor scale that the dialect gives to this amax.
double unit_of(const QuantizeSpec& spec, float amax) {
  QuantizeSpec rounded = spec;
  rounded.stochastic.reset(), rounded.amax.reset();
  Matrix x(spec.block.rows, spec.block.cols);
  x.f32()[0] = amax;
  return tensor_scale(cpu_kernels().quantize(x.view(), rounded, {}), 0, 0);
}

void widen(ElementBound& all, const ElementBound& one) {
  all.worst = std::max(all.worst, one.worst);
  all.bias = std::max(all.bias, one.bias);
  all.expected_square = std::max(all.expected_square, one.expected_square);
}

}  // namespace

ElementBound element_bound(const QuantizeSpec& spec, double amax, double scale, Dtype dtype) {
  const cpu::FloatEnvironment fenced;
  const Dialect& d = *spec.dialect;
  const FormatInfo& f = info(d.element);
  if (amax == 0 || scale == 0) return {amax, 0, up(amax * amax)};
  if (!(std::isfinite(amax) && scale > 0)) return {infinite, infinite, infinite};
  const double delta = slack(d, dtype), reach = up(up(amax / scale) * (1 + delta));
  const bool stochastic = spec.stochastic.has_value();
  const double error = wraps(d, reach) ? reach + f.max : rounding_error(f, reach, stochastic);
  const double worst = up(up(error + up(delta * reach)) * scale);
  if (!stochastic) return {worst, 0, up(worst * worst)};
  // p (1 - p) <= 1/4 of the gap's square, and 2^-16 for 8 random bits; what saturates errs by reach - max.
  const double g = gap_below(f, std::min(reach, f.max)), beyond = std::max(reach - f.max, 0.);
  const double root = up(std::max(up(g * std::sqrt(0.25 + 0x1p-16)), beyond) + up(delta * reach));
  const double bias = up(up(std::max(g / 256, beyond) + up(delta * reach)) * scale);
  return {worst, bias, up(up(root * scale) * up(root * scale))};
}

double largest_amax(const QuantizeSpec& spec, std::uint8_t scale, Dtype dtype) {
  const cpu::FloatEnvironment fenced;
  const Dialect& d = *spec.dialect;
  const double delta = slack(d, dtype);
  if (d.scale == Format::e8m0)
    return scale == 0xFF ? infinite : up(decoded(scale, d.scale) * e8m0_reach(d) * (1 + delta));
  const auto code = static_cast<std::uint8_t>(scale & 0x7F);
  const double value = decoded(code, Format::ue4m3);
  const bool may_saturate = d.global_is == GlobalIs::none || spec.amax;
  if (code == 0x7F || (code == 0x7E && may_saturate)) return infinite;
  if (rounds_scales_up(d) || code == 0x7E) return up(6 * value * (1 + delta));
  const double target = std::max(6., targets(d)[0]);
  return up(target / 2 * (value + next_scale(code, value)) * (1 + delta));
}

TensorBound tensor_bound(const QuantizeSpec& spec, float amax, Dtype dtype) {
  const cpu::FloatEnvironment fenced;
  const Dialect& d = *spec.dialect;
  TensorBound b{.relative = relative_error(spec, dtype), .unit = unit_of(spec, amax)};
  if (amax == 0 || b.unit == 0) return b;
  if (b.unit < least_unit) b.element = {infinite, infinite, infinite};
  const double reach = up(amax / b.unit);
  const int codes = d.scale == Format::e8m0 ? 0xFF : 0x7F;
  for (int code = 0; code < codes; ++code) {
    const auto byte = static_cast<std::uint8_t>(code);
    const double scale = decoded(byte, d.scale);
    // Blocks of this tensor have no larger scale; the smallest normal one may be a dialect's least.
    if (scale * least_reach(d, dtype) > reach && code > 8) break;
    b.scale = scale;
    widen(b.element, element_bound(spec, std::min(reach, largest_amax(spec, byte, dtype)) * b.unit,
                                   scale * b.unit, dtype));
  }
  b.value = std::min(info(d.element).max * b.scale, up(reach + up(b.element.worst / b.unit)));
  return b;
}

}  // namespace nvfp4
