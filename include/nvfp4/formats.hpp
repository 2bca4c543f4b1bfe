#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

/// The scalar formats of the field: a code is bits, a value is a number. Each layer converts through
/// its `Kernels` table (kernels.hpp); reference/formats.cpp is the definition.
namespace nvfp4 {

enum class Format : std::uint8_t {
  e2m1,   ///< 4 bits in the low nibble: 0 .5 1 1.5 2 3 4 6 and their negatives; no Inf, no NaN
  e2m3,   ///< 6 bits in the low ones, as OCP MX has them: max 7.5; no Inf, no NaN
  e3m2,   ///< the same: max 28
  e4m3,   ///< E4M3FN: max 448, no Inf, NaN is 0x7F and 0xFF
  ue4m3,  ///< E4M3 as a block scale: bit 7 is zero when encoding (negatives give 0), ignored when decoding
  e5m2,   ///< IEEE-like: max 57344, Inf 0x7C, NaN 0x7D..0x7F
  e8m0,   ///< 2^(code - 127), NaN is 0xFF; no zero, no sign: rounds |x|, and what is below 2^-127 gives 0x00
  bf16,
  fp16,
  tf32,  ///< FP32 bits whose low 13 bits are zero when encoding, ignored when decoding
};

/// `up` and `down` go towards +Inf and -Inf. E8M0's nearest_even is what ml_dtypes, XLA and torch do: ties go
/// up, and so does all between 2^-127 and 2^-126.
enum class Rounding : std::uint8_t { nearest_even, toward_zero, up, down, ties_away, ties_to_zero };

/// What becomes of an infinity, and of a finite value that rounds beyond the largest finite one. Rounding
/// towards zero never does: as in IEEE 754, it stops there.
enum class Overflow : std::uint8_t {
  saturate,  ///< the largest finite value of that sign
  special,  ///< Inf where the format has one, else NaN, of that sign; E2M1, E2M3 and E3M2 have neither and saturate
};

/// Whose treatment of NaN is followed, and of zero and negatives in E8M0. All else is the same for all.
/// The table, with what is documented and what is this library's choice, stands in reference/README.md.
enum class Target : std::uint8_t {
  cuda,       ///< PTX cvt and the host code of cuda_fp4.h, cuda_fp8.h, cuda_fp16.h and cuda_bf16.h
  ml_dtypes,  ///< 0.6.0
  xla,        ///< jax 0.10.2 CPU: ml_dtypes but for E2M1's NaN
  torch,      ///< PyTorch 2.15's scalar conversions; E2M1, E2M3 and E3M2 are torchao 0.18's
};

/// All that fixes the code of an FP32 value.
struct Encoding {
  Format format = Format::e2m1;
  Rounding rounding = Rounding::nearest_even;
  Overflow overflow = Overflow::saturate;
  Target target = Target::cuda;
  friend bool operator==(const Encoding&, const Encoding&) = default;
};

/// The constants of a format, for printing and for loops over all codes.
struct FormatInfo {
  Format format;
  std::string_view name;
  int bits;  ///< width of a code: 4, 6, 8, 16 or 32
  int exponent_bits;
  int mantissa_bits;  ///< stored, without the hidden bit
  int bias;
  bool has_sign, has_infinity, has_nan;
  double max;  ///< largest finite value, exact
};

inline constexpr FormatInfo format_table[] = {
    {Format::e2m1, "e2m1", 4, 2, 1, 1, true, false, false, 6},
    {Format::e2m3, "e2m3", 6, 2, 3, 1, true, false, false, 7.5},
    {Format::e3m2, "e3m2", 6, 3, 2, 3, true, false, false, 28},
    {Format::e4m3, "e4m3", 8, 4, 3, 7, true, false, true, 448},
    {Format::ue4m3, "ue4m3", 8, 4, 3, 7, false, false, true, 448},
    {Format::e5m2, "e5m2", 8, 5, 2, 15, true, true, true, 57344},
    {Format::e8m0, "e8m0", 8, 8, 0, 127, false, false, true, 0x1p127},
    {Format::bf16, "bf16", 16, 8, 7, 127, true, true, true, 0x1.fep127},
    {Format::fp16, "fp16", 16, 5, 10, 15, true, true, true, 65504},
    {Format::tf32, "tf32", 32, 8, 10, 127, true, true, true, 0x1.ffcp127},
};
inline constexpr std::string_view rounding_names[] = {"nearest_even", "toward_zero", "up",
                                                      "down",         "ties_away",   "ties_to_zero"};
inline constexpr std::string_view target_names[] = {"cuda", "ml_dtypes", "xla", "torch"};

constexpr std::span<const FormatInfo> formats() { return format_table; }
constexpr const FormatInfo& info(Format f) { return format_table[static_cast<int>(f)]; }
constexpr std::string_view name(Rounding r) { return rounding_names[static_cast<int>(r)]; }

constexpr std::string_view name(Overflow o) { return o == Overflow::saturate ? "saturate" : "special"; }
constexpr std::string_view name(Target t) { return target_names[static_cast<int>(t)]; }

constexpr std::optional<Format> find_format(std::string_view name) {
  for (const FormatInfo& f : format_table)
    if (f.name == name) return f.format;
  return std::nullopt;
}

}  // namespace nvfp4
