#include "matrix_tiles.hpp"

#include "isa.hpp"

// GCC and clang name them differently.
#if (defined(__AMX_BF16__) || defined(__AMXBF16__)) && (defined(__AMX_INT8__) || defined(__AMXINT8__)) && \
    defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "block_codes.hpp"
#include "block_pack.hpp"
#include "e2m1_avx512.hpp"

namespace nvfp4::isa {
namespace {

/// As LDTILECFG reads it: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void enter() {
  static constexpr TileShapes shapes;
  _tile_loadconfig(&shapes);
}

void leave() { _tile_release(); }

/// The values of a group, times its scale.
__m512 products(const std::uint8_t* codes, float scale) {
  return _mm512_mul_ps(e2m1_values_of(codes), _mm512_set1_ps(scale));
}

PackFacts facts(const PanelTask& t) {
  constexpr double rounded = 1 + 0x1p-20, most = 0x1p100;  // upwards, whatever FP32 takes away
  PackFacts facts;
  for (int s = 0; s < t.steps; ++s) {
    StepCodes codes;
    unpack_codes<4>(t.codes + step_k / 2 * s, 0, codes);
    const StepScales scales = weigh_groups(t.scale_of, t.scales + step_groups * s, codes.squares);
    const double unit = unit_of(scales, t.fraction_bits);
    add_facts(facts, scales, unit);
    t.norms[s] = std::max(t.norms[s], static_cast<float>(std::min(scales.norm * rounded, most)));
    t.units[panel_rows * s] = unit;
  }
  return facts;
}

/// 2 + 4 bits of significand: BF16 has room for 8.
void pack_values(const PanelTask& t) {
  const auto group = [&](int n) { return products(t.codes + 8 * n, t.value_of[t.scales[n]]); };
  for (int g = 0; g < t.steps * step_groups; g += 2) {
    const __m512bh line = _mm512_cvtne2ps_pbh(group(g + 1), group(g));
    std::memcpy(t.lines + g / 2 * half_bytes, &line, 64);
  }
}

void pack_digits(const PanelTask& t) {
  for (int s = 0; s < t.steps; ++s) {
    const double unit = t.units[panel_rows * s];
    std::byte* line = t.lines + panel_step_bytes * s;
    for (int g = 0; g < step_groups; ++g, line += 16) {
      const auto scale = static_cast<float>(t.value_of[t.scales[step_groups * s + g]] / unit);
      const __m512i whole = _mm512_cvtps_epi32(products(t.codes + 32 * s + 8 * g, scale));
      const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(128)), 8);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(line), _mm512_cvtepi32_epi8(high));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(line + half_bytes), _mm512_cvtepi32_epi8(whole));
    }
  }
}

/// By pairs of rows, then fours, then lanes.
void transpose(std::byte* tile) {
  __m512i row[16], pair[16];
  for (int i = 0; i < 16; ++i) row[i] = _mm512_loadu_si512(tile + 64 * i);
  for (int i = 0; i < 16; i += 2) {
    pair[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
    pair[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int n = 0; n < 2; ++n) {
      row[i + 2 * n] = _mm512_unpacklo_epi64(pair[i + n], pair[i + 2 + n]);
      row[i + 2 * n + 1] = _mm512_unpackhi_epi64(pair[i + n], pair[i + 2 + n]);
    }
  // row[4 f + n]: column n of each lane's four, of rows 4 f .. 4 f + 3.
  for (int n = 0; n < 4; ++n) {
    const __m512i even[] = {_mm512_shuffle_i32x4(row[n], row[4 + n], 0x88),
                            _mm512_shuffle_i32x4(row[8 + n], row[12 + n], 0x88)};
    const __m512i odd[] = {_mm512_shuffle_i32x4(row[n], row[4 + n], 0xDD),
                           _mm512_shuffle_i32x4(row[8 + n], row[12 + n], 0xDD)};
    _mm512_storeu_si512(tile + 64 * n, _mm512_shuffle_i32x4(even[0], even[1], 0x88));
    _mm512_storeu_si512(tile + 64 * (n + 4), _mm512_shuffle_i32x4(odd[0], odd[1], 0x88));
    _mm512_storeu_si512(tile + 64 * (n + 8), _mm512_shuffle_i32x4(even[0], even[1], 0xDD));
    _mm512_storeu_si512(tile + 64 * (n + 12), _mm512_shuffle_i32x4(odd[0], odd[1], 0xDD));
  }
}

constexpr int quarter = 16 * 16, outputs = 4 * quarter;

/// S of a step, by quarters of the panels' product. One quarter is stored while the next is multiplied: stores of several
/// at the end would hold the unit up.
void step_sums(const std::byte* a, const std::byte* b, float* sums) {
  _tile_zero(0);
  _tile_loadd(4, a, 64);
  _tile_loadd(6, b, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(5, a + half_bytes, 64);
  _tile_loadd(7, b + half_bytes, 64);
  _tile_dpbf16ps(0, 5, 7);
  _tile_stored(0, sums, 64);

  _tile_zero(1);
  _tile_loadd(2, a + tile_bytes, 64);
  _tile_dpbf16ps(1, 2, 6);
  _tile_loadd(3, a + half_bytes + tile_bytes, 64);
  _tile_dpbf16ps(1, 3, 7);
  _tile_stored(1, sums + 2 * quarter, 64);

  _tile_zero(0);
  _tile_loadd(6, b + tile_bytes, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(7, b + half_bytes + tile_bytes, 64);
  _tile_dpbf16ps(0, 5, 7);
  _tile_stored(0, sums + quarter, 64);

  _tile_zero(1);
  _tile_dpbf16ps(1, 2, 6);
  _tile_dpbf16ps(1, 3, 7);
  _tile_stored(1, sums + 3 * quarter, 64);
}

/// D = C + the sums of `count` steps.
template <int count>
void add(float* c, const float (&sums)[2][outputs]) {
#pragma GCC unroll 8
  for (int i = 0; i < outputs; i += 16) {
    __m512 d = _mm512_add_ps(_mm512_load_ps(c + i), _mm512_load_ps(sums[0] + i));
    if constexpr (count == 2) d = _mm512_add_ps(d, _mm512_load_ps(sums[1] + i));
    _mm512_store_ps(c + i, d);
  }
}

/// The matrix unit rounds to nearest and sets no flag: its sums are to be exact. C is loaded for two steps at once.
void values(const PanelProduct& t) {
  alignas(64) float sums[2][outputs];
  const std::byte *a = t.a, *b = t.b;
  int left = t.steps;
  for (; left >= 2; left -= 2, a += 2 * panel_step_bytes, b += 2 * panel_step_bytes) {
    step_sums(a, b, sums[0]);
    step_sums(a + panel_step_bytes, b + panel_step_bytes, sums[1]);
    add<2>(t.c, sums);
  }
  if (left == 0) return;
  step_sums(a, b, sums[0]);
  add<1>(t.c, sums);
}

/// Of a quarter: sums of a step's products of high digits, of high by low and low by high, and of low ones.
struct DigitSums {
  alignas(64) std::int32_t high[quarter], middle[quarter], low[quarter];

  /// S of a row, 2^16 high + 2^8 middle + low, in place of `low`.
  [[gnu::always_inline]] void total(int row) {
    const auto shifted = [&](const std::int32_t* x, int bits) {
      return _mm512_slli_epi32(_mm512_load_si512(x + 16 * row), bits);
    };
    std::int32_t* const sum = low + 16 * row;
    _mm512_store_si512(sum, _mm512_add_epi32(_mm512_add_epi32(shifted(high, 16), shifted(middle, 8)),
                                             _mm512_load_si512(sum)));
  }
};

/// A step's sums on their way into C, which is exact before it is truncated to the 24 bits of a normal FP32 number.
struct DigitAddition {
  double* c;
  DigitSums* sums;
  const double *a_units, *b_units;

  template <int first, int last>
  [[gnu::always_inline]] void rows() const {
#pragma GCC unroll 8
    for (int r = first; r < last; ++r) sums->total(r);
    // To be converted from memory, not from a register, which takes a shuffle more.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const __m512d units[] = {_mm512_loadu_pd(b_units), _mm512_loadu_pd(b_units + 8)};
#pragma GCC unroll 8
    for (int r = first; r < last; ++r) {
      const __m512d unit = _mm512_set1_pd(a_units[r]);
      for (int half = 0; half < 2; ++half) add(16 * r + 8 * half, _mm512_mul_pd(unit, units[half]));
    }
  }

  [[gnu::always_inline]] void add(int n, __m512d unit) const {
    const __m512d sum =
        _mm512_cvtepi32_pd(_mm256_load_si256(reinterpret_cast<const __m256i*>(sums->low + n)));
    const __m512d exact = _mm512_fmadd_pd(sum, unit, _mm512_load_pd(c + n));
    _mm512_store_pd(c + n, _mm512_and_pd(exact, _mm512_castsi512_pd(_mm512_set1_epi64(~0x1FFFFFFFll))));
  }
};

/// A step's sums. first(), second() and third() are other work, to fill the time between two tiles.
template <class First, class Second, class Third>
[[gnu::always_inline]] inline void digit_sums(const std::byte* a, const std::byte* b, DigitSums& sums,
                                              First first, Second second, Third third) {
  _tile_zero(0);
  _tile_loadd(4, a, 64);
  _tile_loadd(6, b, 64);
  _tile_dpbssd(0, 4, 6);
  first();
  _tile_stored(0, sums.high, 64);
  _tile_zero(1);
  _tile_loadd(7, b + half_bytes, 64);
  _tile_dpbssd(1, 4, 7);
  _tile_loadd(5, a + half_bytes, 64);
  _tile_dpbssd(1, 5, 6);
  second();
  _tile_stored(1, sums.middle, 64);
  _tile_zero(2);
  _tile_dpbssd(2, 5, 7);
  third();
  _tile_stored(2, sums.low, 64);
}

/// A quarter of a step.
struct DigitProduct {
  const std::byte *a, *b;
  DigitAddition addition;
};

/// A quarter's sums are added while the next's are multiplied. Quarters go round within a step, whose lines are then in L1
/// cache when they come again.
void digits(const PanelProduct& t) {
  DigitSums sums[2];
  alignas(64) double c[outputs];
  std::copy_n(t.c, outputs, c);
  const auto product = [&](int n) {
    const int s = n / 4, i = n / 2 % 2, j = n % 2;
    return DigitProduct{t.a + panel_step_bytes * s + tile_bytes * i,
                        t.b + panel_step_bytes * s + tile_bytes * j,
                        {c + quarter * (n % 4), &sums[n % 2], t.a_units + panel_rows * s + 16 * i,
                         t.b_units + panel_rows * s + 16 * j}};
  };
  const auto nothing = [] {};
  digit_sums(t.a, t.b, sums[0], nothing, nothing, nothing);
  const int last = 4 * t.steps - 1;
  for (int n = 0; n < last; ++n) {
    const DigitAddition before = product(n).addition;
    const DigitProduct next = product(n + 1);  // carried over to the next n: 2 to 4 % slower
    digit_sums(
        next.a, next.b, *next.addition.sums, [&] { before.rows<0, 5>(); }, [&] { before.rows<5, 11>(); },
        [&] { before.rows<11, 16>(); });
  }
  product(last).addition.rows<0, 16>();
  std::copy_n(c, outputs, t.c);
}

bool has_instructions() {
  unsigned a, b, c, d, more;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const unsigned bf16 = 1u << 22, tiles = 1u << 24, int8 = 1u << 25, needed = bf16 | tiles | int8;
  return (d & needed) == needed && __get_cpuid_count(7, 1, &more, &b, &c, &d) &&
         (more & 1u << 5);  // AVX512_BF16
}

/// Linux lends the tiles' state to a process that asks for it.
bool ask_for_tiles() {
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

constexpr MatrixTiles tiles{enter, leave, facts, pack_values, pack_digits, transpose, values, digits};

}  // namespace

const Table* amx() {
  static const bool here = avx512() && has_instructions() && ask_for_tiles();
  if (!here) return nullptr;
  static const Table table = [] {
    Table t = *avx512();
    t.matrix_tiles = &tiles;
    return t;
  }();
  return &table;
}

}  // namespace nvfp4::isa
#else
namespace nvfp4::isa {
const Table* amx() { return nullptr; }
}  // namespace nvfp4::isa
#endif
