#include "mma_cases.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include <nvfp4/random.hpp>

namespace nvfp4::cli {
namespace {

/// Drawn one after another, never twice in the arguments of one call: their order would be the compiler's.
class Words {
 public:
  Words(std::uint64_t seed, std::uint64_t stream) : bits_{.seed = seed, .stream = stream} {}

  std::uint64_t next() {
    const std::array<std::uint32_t, 4> four = draw(bits_, 0, count_++);
    return std::uint64_t{four[0]} << 32 | four[1];
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  RandomBits bits_;
  std::int64_t count_ = 0;
};

/// Where a code has its fields; `dropped_bits` lie below the mantissa.
struct Fields {
  int exponent_bits, mantissa_bits, bias, dropped_bits = 0;
  bool has_sign = true, has_infinity = true, has_nan = true;

  std::uint64_t all_ones() const { return (std::uint64_t{1} << exponent_bits) - 1; }
  std::uint64_t sign() const {
    return std::uint64_t{has_sign} << (exponent_bits + mantissa_bits + dropped_bits);
  }
  std::uint64_t code(std::uint64_t exponent, std::uint64_t mantissa, bool negative) const {
    const std::uint64_t fraction = mantissa & ((std::uint64_t{1} << mantissa_bits) - 1);
    return (exponent << mantissa_bits | fraction) << dropped_bits | (negative ? sign() : 0);
  }
  std::uint64_t power_of_two(int exponent) const {
    return code(static_cast<std::uint64_t>(exponent + bias), 0, false);
  }
};

Fields fields(Format format) {
  const FormatInfo& f = info(format);
  const bool bit_7_is_ignored = format == Format::ue4m3;
  return {f.exponent_bits,
          f.mantissa_bits,
          f.bias,
          format == Format::tf32 ? 13 : 0,
          f.has_sign || bit_7_is_ignored,
          f.has_infinity,
          f.has_nan};
}

constexpr Fields fp16{5, 10, 15}, fp32{8, 23, 127}, fp64{11, 52, 1023};

/// What the codes of an instruction mean.
struct Meaning {
  explicit Meaning(const Instruction& x)
      : a(x.acc.sum == Summation::fp64_fma ? fp64 : fields(x.a)),
        b(x.acc.sum == Summation::fp64_fma ? fp64 : fields(x.b)),
        scale(fields(x.acc.scale.value_or(Format::e8m0))),
        c(code_bits(x.acc) == 64   ? fp64
          : code_bits(x.acc) == 32 ? fp32
                                   : fp16) {}
  Fields a, b, scale, c;
};

/// Powers of two, cut to those of a format.
struct Range {
  int low, high;
};
constexpr Range near{-2, 2}, all{-2000, 2000}, smallest{-2000, -2000}, largest{2000, 2000};

/// A finite number with an exponent in that range and any mantissa and sign.
std::uint64_t number(const Fields& f, Range range, Words& words) {
  const int top = static_cast<int>(f.all_ones());
  const bool top_is_special = f.has_infinity || (f.has_nan && f.mantissa_bits == 0);
  const int last = top_is_special ? top - 1 : top;
  const int low = std::clamp(range.low + f.bias, 0, last), high = std::clamp(range.high + f.bias, 0, last);
  const auto exponent =
      static_cast<std::uint64_t>(low) + words.below(static_cast<std::uint64_t>(high - low + 1));
  std::uint64_t mantissa = words.next();
  if (f.has_nan && exponent == f.all_ones()) mantissa &= ~std::uint64_t{1};  // E4M3: all ones are NaN
  return f.code(exponent, mantissa, words.one_in(2));
}

/// Infinity or NaN; where the format has neither, any code.
std::uint64_t special(const Fields& f, Words& words) {
  if (!f.has_nan) return number(f, all, words);
  std::uint64_t mantissa = words.next();
  if (f.has_infinity && words.one_in(2)) mantissa = 0;
  if (!f.has_infinity) mantissa = ~std::uint64_t{0};
  return f.code(f.all_ones(), mantissa, words.one_in(2));
}

template <class Codes>
void fill(Codes& codes, const Fields& f, Range range, Words& words) {
  for (auto& code : codes) code = static_cast<typename Codes::value_type>(number(f, range, words));
}

/// Replaces one code in `n` by what `make` gives.
template <class Codes, class Make>
void replace(Codes& codes, std::uint64_t n, Words& words, Make make) {
  for (auto& code : codes)
    if (words.one_in(n)) code = static_cast<typename Codes::value_type>(make());
}

void leave(MmaFile&, const Meaning&, Words&) {}

/// Every code as likely as any other.
void any_bits(MmaFile& x, const Meaning& m, Words& words) {
  const auto any = [&](const Fields& f) {
    return [&] {
      const std::uint64_t exponent = words.below(f.all_ones() + 1), mantissa = words.next();
      return f.code(exponent, mantissa, words.one_in(2));
    };
  };
  replace(x.a, 1, words, any(m.a));
  replace(x.b, 1, words, any(m.b));
  replace(x.c, 1, words, any(m.c));
  replace(x.a_scales, 1, words, any(m.scale));
  replace(x.b_scales, 1, words, any(m.scale));
}

/// Single zeros of both signs, whole blocks of 16, C, and scales.
void clear_some(MmaFile& x, const Meaning& m, Words& words) {
  const auto zero = [&](const Fields& f) { return [&] { return f.code(0, 0, words.one_in(2)); }; };
  replace(x.a, 4, words, zero(m.a));
  replace(x.b, 4, words, zero(m.b));
  replace(x.c, 2, words, zero(m.c));
  replace(x.a_scales, 4, words, zero(m.scale));
  for (auto* codes : {&x.a, &x.b})
    for (std::size_t i = 0; i < codes->size(); i += 16)
      if (words.one_in(3))
        for (std::size_t k = i; k < std::min(i + 16, codes->size()); ++k)
          (*codes)[k] &= (codes == &x.a ? m.a : m.b).sign();
}

/// In two blocks of 16 of three each two neighbours in k cancel.
void cancel(MmaFile& x, const Meaning& m, Words&) {
  const auto k = static_cast<std::size_t>(x.k);
  for (auto* codes : {&x.a, &x.b})
    for (std::size_t i = 0; i + 1 < codes->size(); i += 2) {
      const std::size_t rows = codes == &x.a ? 16 : 8, tile = i / k / rows;
      if ((i % k / 16 + tile) % 3 != 2) (*codes)[i + 1] = (*codes)[i] ^ (codes == &x.b ? m.b.sign() : 0);
    }
}

/// Few products of 1 or -1, and a C whose last place is 2.
void make_ties(MmaFile& x, const Meaning& m, Words& words) {
  const auto sparse = [&](const Fields& f) {
    return [&] { return words.one_in(4) ? f.power_of_two(0) ^ (words.one_in(2) ? f.sign() : 0) : 0; };
  };
  replace(x.a, 1, words, sparse(m.a));
  replace(x.b, 1, words, sparse(m.b));
  for (auto* scales : {&x.a_scales, &x.b_scales})
    replace(*scales, 1, words, [&] { return m.scale.power_of_two(0); });
  const int last_place_2 = m.c.mantissa_bits + 1;
  fill(x.c, m.c, {last_place_2, last_place_2}, words);
}

void spoil(MmaFile& x, const Meaning& m, Words& words) {
  const auto make = [&](const Fields& f) { return [&] { return special(f, words); }; };
  replace(x.a, 32 * static_cast<std::uint64_t>(x.k), words, make(m.a));
  replace(x.b, 32 * static_cast<std::uint64_t>(x.k), words, make(m.b));
  replace(x.c, 4, words, make(m.c));
  replace(x.a_scales, 64, words, make(m.scale));
  replace(x.b_scales, 64, words, make(m.scale));
}

/// Where the numbers of one pack lie, and what is done to them.
struct Pack {
  std::string_view name;
  Range a, b, a_scales, b_scales, c;
  void (*change)(MmaFile&, const Meaning&, Words&);
};

constexpr Pack packs[] = {
    {"near", near, near, near, near, {-4, 8}, leave},
    {"bits", all, all, all, all, all, any_bits},
    {"zeros", near, near, near, near, near, clear_some},
    {"cancelled", near, near, {-6, 6}, near, {-24, 0}, cancel},
    {"large_c", near, near, near, near, {6, 40}, leave},
    {"subnormals", smallest, near, smallest, near, smallest, leave},
    {"ties", near, near, near, near, near, make_ties},
    {"overflow", largest, largest, largest, largest, largest, leave},
    {"nonfinite", near, near, near, near, near, spoil},
};

MmaFile shape_of(const Instruction& x) {
  MmaFile file;
  file.tiles = 4, file.rows = 16, file.cols = 8;
  file.k = x.acc.k > 1 ? x.acc.k : 64;
  file.a_format = x.a, file.b_format = x.b;
  file.scale = x.acc.scale, file.block = x.acc.scale ? x.acc.block : 0;
  file.shape = {file.tiles, file.rows, file.cols};
  const std::int64_t blocks = file.scale ? (file.k + file.block - 1) / file.block : 0;
  const auto size = [&](std::int64_t rows, std::int64_t cols) {
    return static_cast<std::size_t>(file.tiles * rows * cols);
  };
  file.a.resize(size(file.rows, file.k)), file.b.resize(size(file.cols, file.k));
  file.c.resize(size(file.rows, file.cols));
  file.a_scales.resize(size(file.rows, blocks)), file.b_scales.resize(size(file.cols, blocks));
  return file;
}

}  // namespace

std::vector<std::string_view> mma_packs() {
  std::vector<std::string_view> names;
  for (const Pack& pack : packs) names.push_back(pack.name);
  return names;
}

MmaFile mma_case(const Instruction& instruction, std::string_view name, std::uint64_t seed) {
  const Pack& pack = *std::ranges::find(packs, name, &Pack::name);
  Words words(seed, static_cast<std::uint64_t>(&pack - packs));
  const Meaning m(instruction);
  MmaFile x = shape_of(instruction);
  fill(x.a, m.a, pack.a, words);
  fill(x.b, m.b, pack.b, words);
  fill(x.a_scales, m.scale, pack.a_scales, words);
  fill(x.b_scales, m.scale, pack.b_scales, words);
  fill(x.c, m.c, pack.c, words);
  pack.change(x, m, words);
  return x;
}

}  // namespace nvfp4::cli
