#include "aligned.hpp"

#include <array>

#include "isa/block_tiles.hpp"

namespace nvfp4::cpu {

Unpacked unpack_code(std::uint32_t code, const FormatInfo& f) {
  if (f.format == Format::e8m0)
    return {1, static_cast<int>(code) - 127, code == 0xFF ? ProductRows::is_nan : std::uint8_t{0}};
  const int dropped = f.format == Format::tf32 ? 13 : 0, value_bits = f.exponent_bits + f.mantissa_bits;
  const int magnitude = static_cast<int>(code >> dropped & ((1u << value_bits) - 1));
  const int hidden = 1 << f.mantissa_bits, fraction = magnitude & (hidden - 1),
            field = magnitude >> f.mantissa_bits;
  const bool last_field = field == (1 << f.exponent_bits) - 1;
  std::uint8_t kind = f.has_sign && (code >> (dropped + value_bits) & 1) ? ProductRows::is_negative : 0;
  if (f.has_infinity && last_field) kind |= fraction ? ProductRows::is_nan : ProductRows::is_infinite;
  if (!f.has_infinity && f.has_nan && last_field && fraction == hidden - 1) kind |= ProductRows::is_nan;
  return {field ? hidden | fraction : fraction, std::max(field, 1) - f.bias, kind};
}

namespace {

/// Where element k of a row lies, so that steps are runs.
std::int64_t place(std::int64_t k, const Accumulation& acc) {
  if (acc.k_order == KOrder::ascending) return k;
  const std::int64_t l = k % acc.k;
  return k - l + (l % 4 >= 2 ? acc.k / 2 : 0) + l / 4 * 2 + l % 2;
}

/// Rows without a special step.
std::vector<std::uint8_t> finite_rows(const std::vector<std::uint8_t>& special, std::int64_t rows) {
  std::vector<std::uint8_t> finite(static_cast<std::size_t>(rows), 1);
  for (std::size_t s = 0; s < special.size(); ++s)
    if (special[s]) finite[s / (special.size() / finite.size())] = 0;
  return finite;
}

}  // namespace

ProductRows::ProductRows(const CodeRows& x, std::int64_t padded_k, const Accumulation& acc)
    : k(padded_k),
      step(acc.step),
      fraction_bits(info(*x.element).mantissa_bits + (x.scale ? info(*x.scale).mantissa_bits : 0)),
      significand(static_cast<std::size_t>(x.rows * k)),
      exponent(significand.size()),
      kind(significand.size()),
      special(significand.size() / static_cast<std::size_t>(step)) {
  const FormatInfo& element = info(*x.element);
  CodeRow row(x, k);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    row.read(x, i);
    for (std::int64_t col = 0; col < k; ++col) {
      const Unpacked e = unpack_code(row.codes[static_cast<std::size_t>(col)], element);
      const Unpacked s = x.scale ? unpack_code(row.scale_at(col), info(*x.scale)) : Unpacked{1, 0, 0};
      const auto at = static_cast<std::size_t>(i * k + place(col, acc));
      const int m = e.significand * s.significand;
      const bool counts = m != 0 || acc.zero_rule == ZeroRule::never;
      significand[at] = static_cast<std::int16_t>(e.kind & is_negative ? -m : m);
      exponent[at] = static_cast<std::int16_t>(counts ? e.exponent + s.exponent : never_largest);
      kind[at] = e.kind | s.kind;
      if (kind[at] & (is_infinite | is_nan)) special[at / static_cast<std::size_t>(step)] = 1;
    }
  }
  finite = finite_rows(special, x.rows);
}

GroupRows::GroupRows(const CodeRows& x, std::int64_t padded_k, const Accumulation& acc)
    : k(padded_k),
      step(acc.step),
      group(acc.group),
      fraction_bits(1 + info(*x.scale).mantissa_bits),
      doubled(static_cast<std::size_t>(x.rows * k)),
      nonzero(doubled.size() / static_cast<std::size_t>(group)),
      negative(nonzero.size()),
      scale(nonzero.size()),
      exponent(nonzero.size()),
      special(doubled.size() / static_cast<std::size_t>(step)) {
  CodeRow row(x, k);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    row.read(x, i);
    for (std::int64_t first = 0; first < k; first += group) {
      const auto at = static_cast<std::size_t>(i * k + first), g = at / static_cast<std::size_t>(group);
      const Unpacked s = unpack_code(row.scale_at(first), info(*x.scale));
      scale[g] = static_cast<std::int16_t>(s.significand);
      exponent[g] = static_cast<std::int16_t>(s.exponent);
      special[at / static_cast<std::size_t>(step)] |= s.kind;
      for (std::size_t l = 0; l < static_cast<std::size_t>(group); ++l) {
        const std::uint32_t code = row.codes[static_cast<std::size_t>(first) + l] & 15;
        doubled[at + l] = isa::doubled_e2m1[code];
        nonzero[g] |= std::uint64_t{(code & 7) != 0 && s.significand != 0} << l;
        negative[g] |= std::uint64_t{code >> 3} << l;
      }
    }
  }
  finite = finite_rows(special, x.rows);
}

namespace {

/// Specials of the elements and scales of a step, where there are any.
void add_specials(const ProductRows& a, std::size_t at_a, const ProductRows& b, std::size_t at_b,
                  Specials& specials) {
  for (std::size_t l = 0; l < static_cast<std::size_t>(a.step); ++l) {
    const std::uint8_t ka = a.kind[at_a + l], kb = b.kind[at_b + l], both = ka | kb;
    const bool infinite = both & ProductRows::is_infinite;
    const bool zero = a.significand[at_a + l] == 0 || b.significand[at_b + l] == 0;  // an infinity's is not
    if (both & ProductRows::is_nan || (infinite && zero)) specials.nan = true;
    if (infinite) specials.add_infinity(((ka ^ kb) & ProductRows::is_negative) != 0);
  }
}

void add_specials(const GroupRows& a, std::size_t at_a, const GroupRows& b, std::size_t at_b,
                  Specials& specials) {
  const auto step = static_cast<std::size_t>(a.step);
  specials.nan = specials.nan || ((a.special[at_a / step] | b.special[at_b / step]) & ProductRows::is_nan);
}

bool all_minus_zero(const ProductRows& a, std::size_t at_a, const ProductRows& b, std::size_t at_b) {
  for (std::size_t l = 0; l < static_cast<std::size_t>(a.step); ++l)
    if ((a.significand[at_a + l] && b.significand[at_b + l]) ||
        !((a.kind[at_a + l] ^ b.kind[at_b + l]) & ProductRows::is_negative))
      return false;
  return true;
}

bool all_minus_zero(const GroupRows& a, std::size_t at_a, const GroupRows& b, std::size_t at_b) {
  const auto group = static_cast<std::size_t>(a.group);
  const std::uint64_t all = ~std::uint64_t{0} >> (64 - group);
  for (std::size_t l = 0; l < static_cast<std::size_t>(a.step); l += group) {
    const std::size_t ga = (at_a + l) / group, gb = (at_b + l) / group;
    if (a.nonzero[ga] & b.nonzero[gb] || (a.negative[ga] ^ b.negative[gb]) != all) return false;
  }
  return true;
}

/// The largest exponent of a step's products, at least `top`.
int largest_exponent(const std::int16_t* ea, const std::int16_t* eb, std::int64_t n, int top) {
  for (std::int64_t l = 0; l < n; ++l) top = std::max(top, ea[l] + eb[l]);
  return top;
}

/// The aligned sum of a step and its unit.
struct Sum {
  std::int64_t value;
  int unit;
};

int exponent_of(const Accumulator& c, const Accumulation& acc) {
  return c.significand == 0 && acc.zero_rule != ZeroRule::never ? acc.zero_exponent : c.exponent;
}

Sum sum_terms(const ProductRows& a, std::size_t at_a, const ProductRows& b, std::size_t at_b,
              const Accumulator& c, int c_fraction_bits, const Accumulation& acc) {
  const int lowest = std::max(lowest_exponent(acc), exponent_of(c, acc));
  const std::int16_t *ea = a.exponent.data() + at_a, *eb = b.exponent.data() + at_b;
  const std::int16_t *ma = a.significand.data() + at_a, *mb = b.significand.data() + at_b;
  const int top = largest_exponent(ea, eb, a.step, lowest), unit = top - acc.fraction_bits;
  std::int64_t sum = cut(c.significand, unit - (c.exponent - c_fraction_bits), acc.align_rounding);
  const int right = unit + a.fraction_bits + b.fraction_bits;
  for (std::int64_t l = 0; l < a.step; ++l)
    if (const int product = ma[l] * mb[l]) sum += cut(product, right - (ea[l] + eb[l]), acc.align_rounding);
  return {sum, unit};
}

constexpr std::size_t most_groups = 64;

/// A group's exact dot product of doubled values.
int dot(const std::int16_t* a, const std::int16_t* b, std::int64_t n) {
  int sum = 0;
  for (std::int64_t l = 0; l < n; ++l) sum += a[l] * b[l];
  return sum;
}

Sum sum_terms(const GroupRows& a, std::size_t at_a, const GroupRows& b, std::size_t at_b,
              const Accumulator& c, int c_fraction_bits, const Accumulation& acc) {
  const auto group = static_cast<std::size_t>(a.group), groups = static_cast<std::size_t>(a.step / a.group);
  std::array<std::int64_t, most_groups> term;
  std::array<int, most_groups> exponent;
  int top = std::max(lowest_exponent(acc), exponent_of(c, acc));
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t ga = at_a / group + g, gb = at_b / group + g;
    term[g] = dot(a.doubled.data() + ga * group, b.doubled.data() + gb * group, a.group);
    term[g] *= a.scale[ga] * b.scale[gb];
    exponent[g] = a.exponent[ga] + b.exponent[gb];
    const bool counts =
        acc.zero_rule == ZeroRule::never ||
        (acc.zero_rule == ZeroRule::zero_sum ? term[g] != 0 : (a.nonzero[ga] & b.nonzero[gb]) != 0);
    if (counts) top = std::max(top, exponent[g]);
  }
  const int unit = top - acc.fraction_bits, right = unit + a.fraction_bits + b.fraction_bits;
  std::int64_t sum = cut(c.significand, unit - (c.exponent - c_fraction_bits), acc.align_rounding);
  for (std::size_t g = 0; g < groups; ++g)
    if (term[g]) sum += cut(term[g], right - exponent[g], acc.align_rounding);
  return {sum, unit};
}

}  // namespace

template <class Rows>
std::uint32_t AlignedChain<Rows>::step(std::int64_t s, std::uint32_t code) const {
  const Target t = target(acc.out);
  const auto at_a = static_cast<std::size_t>(i * a.k + s * a.step),
             at_b = static_cast<std::size_t>(j * b.k + s * b.step);
  const Accumulator c = unpack(code, t);
  const auto length = static_cast<std::size_t>(a.step);
  if (c.is_special || a.special[at_a / length] || b.special[at_b / length]) {
    Specials specials;
    specials.add(code, t);
    add_specials(a, at_a, b, at_b, specials);
    return specials.code(t);
  }
  const Sum sum = sum_terms(a, at_a, b, at_b, c, t.mantissa_bits, acc);
  if (acc.minus_zero && sum.value == 0 && code == t.sign && all_minus_zero(a, at_a, b, at_b)) return t.sign;
  return finish(sum.value, sum.unit, t);
}

namespace {

/// From C = +0 no sum is -0, whatever minus_zero says.
bool is_plain(const Accumulation& acc) {
  return acc.align_rounding == AlignRounding::toward_zero && acc.zero_rule == ZeroRule::zero_products;
}

template <class Rows>
bool are_finite(const Rows& a, std::int64_t i, const Rows& b, std::int64_t first, std::int64_t count) {
  const auto begin = b.finite.begin() + first;
  return a.finite[static_cast<std::size_t>(i)] &&
         std::all_of(begin, begin + count, [](std::uint8_t f) { return f; });
}

template <class Rows>
isa::AlignedStep aligned_step(const Rows& a, const Rows& b, const Accumulation& acc) {
  return {acc.out, acc.fraction_bits, acc.zero_exponent,
          acc.fraction_bits - a.fraction_bits - b.fraction_bits};
}

/// Of products below 4 whose exponents reach `top` 16 fit 32 bits.
bool fits_tiles(const Accumulation& acc) {
  const bool covered = acc.step == 4 || acc.step == 8 || acc.step == 16 || acc.step == 32;
  return covered && acc.fraction_bits <= 25 && acc.scale.value_or(Format::e8m0) == Format::e8m0 &&
         acc.out != Conversion::rne_fp32;
}

}  // namespace

std::optional<ProductTiles> ProductTiles::of(const ProductRows& a, const ProductRows& b,
                                             const Accumulation& acc) {
  if (!is_plain(acc) || !fits_tiles(acc)) return std::nullopt;
  return ProductTiles(a, b, acc);
}

ProductTiles::ProductTiles(const ProductRows& a, const ProductRows& b, const Accumulation& acc)
    : a_(a),
      b_(b),
      acc_(acc),
      significand_(a.significand.begin(), a.significand.end()),
      panel_significand_(panels<float>(b.significand, b.k)),
      exponent_(a.exponent.begin(), a.exponent.end()),
      panel_exponent_(panels<std::int32_t>(b.exponent, b.k)) {}

void ProductTiles::sum(const isa::Tiles& tiles, const Tile& at, float* out) const {
  const Target t = target(acc_.out);
  const std::int64_t first = at.row * a_.k, panel = at.column * b_.k;
  std::fill_n(out, at.rows * isa::panel, 0.f);
  tiles.products({significand_.data() + first, exponent_.data() + first, panel_significand_.data() + panel,
                  panel_exponent_.data() + panel, at.rows, a_.k, acc_.step, aligned_step(a_, b_, acc_),
                  t.smallest_exponent, t.kept_bits, acc_.c_in_sum ? 0 : acc_.k, out});
}

bool ProductTiles::hold(std::int64_t i, std::int64_t j) const {
  return a_.finite[static_cast<std::size_t>(i)] && b_.finite[static_cast<std::size_t>(j)];
}

bool run_chains(const isa::Table& isa, const GroupRows& a, std::int64_t i, const GroupRows& b,
                std::int64_t first, std::int64_t count, const Accumulation& acc, std::uint32_t* codes) {
  const std::int64_t groups = a.k / a.group;
  const auto of = [&](const GroupRows& x, std::int64_t row) {
    return isa::GroupChains::Rows{x.doubled.data() + row * x.k, x.scale.data() + row * groups,
                                  x.exponent.data() + row * groups, x.nonzero.data() + row * groups};
  };
  const isa::AlignedStep step = aligned_step(a, b, acc);
  const bool covered =
      acc.group == 16 && (acc.step == 64 || acc.step == 96) && acc.out == Conversion::rz_fp32;
  if (!is_plain(acc) || !acc.c_in_sum || !covered || step.left < 0 || !are_finite(a, i, b, first, count))
    return false;
  isa.group_chains({of(a, i), of(b, first), groups, count, acc.step / 16, step, codes});
  return true;
}

template struct AlignedChain<ProductRows>;
template struct AlignedChain<GroupRows>;

}  // namespace nvfp4::cpu
