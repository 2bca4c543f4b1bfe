#pragma once
#include <cstring>
#include <type_traits>

#include "chains.hpp"
#include "lanewise.hpp"
#include "philox.hpp"

/// The quantizer's inner loops, generic over F: `F::lanes` FP32 numbers with the primitives of
/// nvfp4/arithmetic.hpp and the moves listed in avx512.cpp. Files of several instruction sets include this,
/// so nothing here may be a symbol that two of them share: every template depends on F.
namespace nvfp4::isa {

template <class F>
struct Engine {
  using Code = typename F::Code;
  static constexpr int lanes = F::lanes;
  static constexpr int parts = 16 / lanes;  ///< vectors that hold one block

  template <class T>
  static const T* row(const QuantizeTask& t, std::int64_t r, std::int64_t col) {
    return static_cast<const T*>(t.x) + r * t.x_stride + col;
  }

  template <class T>
  static std::uint32_t amax_bits(const void* data, std::int64_t count) {
    return F::amax_bits(static_cast<const T*>(data), count);
  }

  /// max |x| of `count` numbers, dropping NaN. Only where a NaN is known to be.
  template <class T>
  static float amax_without_nan(const T* x, std::int64_t stride, std::int64_t rows) {
    float largest = 0;
    for (std::int64_t r = 0; r < rows; ++r)
      for (int j = 0; j < 16; ++j) {
        const float value = __builtin_fabsf(F::widen(x[r * stride + j]));
        if (value > largest) largest = value;
      }
    return largest;
  }

  /// NaN maxima (bits above Inf's) by the dialect's rule.
  template <class D, class T>
  static F settle_nan(F maxima, const T* x, std::int64_t stride, std::int64_t rows) {
    float amax[lanes];
    maxima.store(amax);
    for (int b = 0; b < lanes; ++b)
      if (__builtin_isnan(amax[b]))
        amax[b] = D::info.nan_in_block_amax ? __builtin_nanf("") : amax_without_nan(x + 16 * b, stride, rows);
    return F::load(amax);
  }

  /// The maxima of `lanes` blocks side by side.
  template <class D, class T>
  static F block_maxima(const T* x, std::int64_t stride, std::int64_t rows) {
    const F maxima = F::block_maxima(x, stride, rows);
    return any(is_nan(maxima)) ? settle_nan<D>(maxima, x, stride, rows) : maxima;
  }

  /// A column of `lanes` blocks side by side, for dialects that ask for elements: +0 beyond the matrix.
  template <class T>
  struct Elements {
    const T* x;
    std::int64_t stride, rows_here;
    int rows;
    F operator()(int r, int j) const { return r < rows_here ? gather<F>(x + r * stride + j) : F(0); }
  };

  template <class D, class T, class Tensor>
  static BlockScale<F> block_scale(const T* x, const QuantizeTask& t, const Tensor& tensor) {
    F largest = block_maxima<D>(x, t.x_stride, t.rows);
    if constexpr (D::info.block_cols == 32) largest = pair_maxima(largest);
    if constexpr (requires(const Elements<T>& elements) { D::block(largest, tensor, elements); })
      return D::block(largest, tensor, Elements<T>{x, t.x_stride, t.rows, t.setting.block.rows});
    else
      return D::block(largest, tensor);
  }

  /// In both lanes of each pair, the larger; NaN, whose bits are the largest, poisons.
  static F pair_maxima(F maxima) {
    float lane[lanes];
    maxima.store(lane);
    for (int i = 0; i < lanes; i += 2)
      if (!(lane[i] >= lane[i + 1]) && lane[i] == lane[i])
        lane[i] = lane[i + 1];
      else
        lane[i + 1] = lane[i];
    return F::load(lane);
  }

  /// Phase 1: block scales of `blocks` (a multiple of 16) blocks.
  template <class D, class T, class Tensor>
  static void block_scales(const QuantizeTask& t, const Tensor& tensor, std::int64_t blocks, float* encode,
                           std::uint8_t* scales) {
    const T* next = row<T>(t, 0, t.cols);
    for (std::int64_t b = 0; b < blocks; b += lanes) {
      prefetch<lanes / 2>(next + 8 * b);
      const auto scale = block_scale<D>(row<T>(t, 0, 16 * b), t, tensor);
      scale.encode.store(encode + b);
      scale.code.store_bytes(scales + b);
    }
  }

  /// The codes of as many blocks as one packed store takes. `random` has a byte an element, where R asks for it.
  template <class D, class R, class T, class Tensor>
  [[gnu::always_inline]] static void pack_blocks(const T* x, const float* encode, const Tensor& tensor,
                                                 const std::uint8_t* random, std::uint8_t* out) {
    if constexpr (D::info.element == Format::e2m1 && requires { F::split(x); })
      pack_split<D, R>(x, encode, tensor, random, out);
    else
      pack_whole<D, R>(x, encode, tensor, random, out);
  }

  /// Even and odd elements in vectors of their own: they are cut from pairs without a shuffle, and their codes are
  /// the two nibbles of a byte.
  template <class D, class R, class T, class Tensor>
  [[gnu::always_inline]] static void pack_split(const T* x, const float* encode, const Tensor& tensor,
                                                const std::uint8_t* random, std::uint8_t* out) {
    constexpr int blocks = lanes / 8;  // of one pair of vectors
    Code bytes[F::packed_blocks / blocks];
#pragma GCC unroll 8
    for (int i = 0; i < F::packed_blocks / blocks; ++i) {
      const auto [even, odd] = F::split(x + 16 * blocks * i);
      const F scale = F::eight_each(encode + blocks * i);
      const typename R::Pairs pairs(random + 16 * blocks * i);
      bytes[i] = two_nibbles(R::template code<D>(even, scale, tensor, pairs.even()),
                             R::template code<D>(odd, scale, tensor, pairs.odd()));
    }
    F::store_bytes(bytes, out);
  }

  template <class D, class R, class T, class Tensor>
  [[gnu::always_inline]] static void pack_whole(const T* x, const float* encode, const Tensor& tensor,
                                                const std::uint8_t* random, std::uint8_t* out) {
    Code codes[F::packed_blocks * parts];
#pragma GCC unroll 8
    for (int b = 0; b < F::packed_blocks; ++b) {
      const F scale(encode[b]);
#pragma GCC unroll 4
      for (int p = 0; p < parts; ++p)
        codes[parts * b + p] = R::template code<D>(F::load(x + 16 * b + lanes * p), scale, tensor,
                                                   R::bytes(random + 16 * b + lanes * p));
    }
    if constexpr (D::info.element == Format::e2m1)
      F::store_packed(codes, out);
    else
      for (const Code& code : codes) code.store_bytes(out), out += lanes;
  }

  /// Bytes of codes that 16 elements take.
  template <class D>
  static constexpr int code_bytes = D::info.element == Format::e2m1 ? 8 : 16;

  /// How an element becomes a code: as the dialect says, or with a random byte for each.
  struct Plain {
    struct Pairs {
      explicit Pairs(const std::uint8_t*) {}
      int even() const { return 0; }
      int odd() const { return 0; }
    };
    static int bytes(const std::uint8_t*) { return 0; }
    template <class D, class Tensor>
    [[gnu::always_inline]] static Code code(F x, F scale, const Tensor& tensor, int) {
      return D::element(x, scale, tensor);
    }
  };

  template <SrRule rule>
  struct Random {
    using Pairs = typename Code::Pairs;
    static Code bytes(const std::uint8_t* random) { return Code::load_bytes(random); }
    template <class D, class Tensor>
    [[gnu::always_inline]] static Code code(F x, F scale, const Tensor& tensor, Code random) {
      return e2m1_stochastic(D::scaled(x, scale, tensor), random, rule);
    }
  };

  /// The random words of `blocks` blocks of row r, their bytes in the order of elements. A tail's padding takes none of
  /// the caller's.
  static void random_words(const QuantizeTask& t, std::int64_t r, std::int64_t blocks, std::uint32_t* words) {
    const Stochastic& s = *t.stochastic;
    if (s.from_caller) {
      const std::int64_t first = 4 * t.block, left = t.words_per_row - first;
      const std::int64_t count = left < 4 * blocks ? left : 4 * blocks;
      std::memset(words, 0, static_cast<std::size_t>(16 * blocks));
      std::memcpy(words, s.words.data() + (t.row + r) * t.words_per_row + first,
                  static_cast<std::size_t>(4 * count));
    } else {
      philox_blocks<F>(s.random, t.row + r, t.block, blocks, words);
    }
    if (s.map == ByteMap::hw)
      for (std::int64_t i = 0; i < 4 * blocks; ++i)
        words[i] = (words[i] & 0xFF0000FF) | (words[i] >> 8 & 0xFF00) | (words[i] << 8 & 0xFF0000);
  }

  /// Both phases for columns that are a multiple of `group`. Scales before codes: one phase would wait for
  /// the chain maximum, division, broadcast at every block. Phase 2 asks for the next chunk's cache lines.
  template <class D, class R, class T>
  static void whole_groups(const QuantizeTask& t) {
    float encode[chunk / 16];
    std::uint8_t scales[chunk / 16];
    std::uint32_t random[std::is_same_v<R, Plain> ? 1 : chunk / 4];
    const std::int64_t blocks = t.cols / 16;
    const auto tensor = D::tensor(F(t.amax), t.setting);
    block_scales<D, T>(t, tensor, blocks, encode, scales);
    const std::int64_t stored = keep_one_a_block<D>(scales, blocks);
    for (std::int64_t r = 0; r < t.rows; ++r) {
      std::memcpy(t.scales + r * t.scales_stride, scales, static_cast<std::size_t>(stored));
      const T* x = row<T>(t, r, 0);
      std::uint8_t* codes = t.codes + r * t.codes_stride;
      if constexpr (!std::is_same_v<R, Plain>) random_words(t, r, blocks, random);
      for (std::int64_t b = 0; b < blocks; b += F::packed_blocks) {
        prefetch<F::packed_blocks / 2>(x + t.cols + 8 * (blocks + b));
        const std::uint32_t* words = std::is_same_v<R, Plain> ? random : random + 4 * b;
        pack_blocks<D, R>(x + 16 * b, encode + b, tensor, reinterpret_cast<const std::uint8_t*>(words),
                          codes + code_bytes<D> * b);
      }
    }
  }

  /// A block of 32 has its scale twice, one for each 16 of its elements.
  template <class D>
  static std::int64_t keep_one_a_block(std::uint8_t* scales, std::int64_t sixteens) {
    constexpr int each = D::info.block_cols / 16;
    for (std::int64_t b = 0; each > 1 && b < sixteens / each; ++b) scales[b] = scales[each * b];
    return sixteens / each;
  }

  /// The lines of `blocks` blocks. The address may lie beyond the tensor: a prefetch never faults.
  template <int blocks, class T>
  static void prefetch(const T* x) {
    for (unsigned line = 0; line < (blocks * 16 * sizeof(T) + 63) / 64; ++line)
      __builtin_prefetch(reinterpret_cast<const char*>(x) + 64 * line);
  }

  /// Fewer than `group` columns: through a copy padded with +0.
  template <class D, class R, class T>
  static void tail(const QuantizeTask& t) {
    T x[16 * group] = {};
    std::uint8_t codes[16 * group], scales[16 * group / 16];
    constexpr std::int64_t codes_stride = group / 16 * code_bytes<D>,
                           scales_stride = group / D::info.block_cols;
    for (std::int64_t r = 0; r < t.rows; ++r)
      std::memcpy(x + r * group, row<T>(t, r, 0), static_cast<std::size_t>(t.cols) * sizeof(T));
    QuantizeTask copy = t;
    copy.x = x;
    copy.x_stride = copy.cols = group;
    copy.codes = codes;
    copy.codes_stride = codes_stride;
    copy.scales = scales;
    copy.scales_stride = scales_stride;
    whole_groups<D, R, T>(copy);
    const std::int64_t blocks = (t.cols + D::info.block_cols - 1) / D::info.block_cols;
    const std::int64_t bytes = blocks * (D::info.block_cols / 16) * code_bytes<D>;
    for (std::int64_t r = 0; r < t.rows; ++r) {
      std::memcpy(t.codes + r * t.codes_stride, codes + r * codes_stride, static_cast<std::size_t>(bytes));
      std::memcpy(t.scales + r * t.scales_stride, scales + r * scales_stride,
                  static_cast<std::size_t>(blocks));
      clear_pad<D>(t.codes + r * t.codes_stride, t.cols);
    }
  }

  /// A dialect may give +0 another code than 0 (its scale may be NaN); pad codes are 0 by the contract.
  template <class D>
  static void clear_pad(std::uint8_t* codes, std::int64_t cols) {
    for (std::int64_t j = cols; j % D::info.block_cols; ++j)
      if constexpr (D::info.element == Format::e2m1)
        codes[j / 2] &= static_cast<std::uint8_t>(j % 2 ? 0x0F : 0xF0);
      else
        codes[j] = 0;
  }

  template <class D, class T>
  static void quantize(const QuantizeTask& t) {
    if constexpr (D::info.stochastic)
      if (t.stochastic) {
        const bool carry = t.stochastic->rule == SrRule::carry;
        return carry ? quantize_by<D, Random<SrRule::carry>, T>(t)
                     : quantize_by<D, Random<SrRule::te_software>, T>(t);
      }
    quantize_by<D, Plain, T>(t);
  }

  template <class D, class R, class T>
  static void quantize_by(const QuantizeTask& t) {
    const std::int64_t whole = t.cols / group * group;
    QuantizeTask main = t, rest = t;
    main.cols = whole;
    rest.cols = t.cols - whole;
    rest.x = row<T>(t, 0, whole);
    rest.codes += whole / 16 * code_bytes<D>;
    rest.scales += whole / D::info.block_cols;
    rest.block += whole / 16;
    if (main.cols) whole_groups<D, R, T>(main);
    if (rest.cols) tail<D, R, T>(rest);
  }

  /// Some rows of a strip of columns as FP32, lane = column: 16 rows at a power of two of bytes apart would not stay
  /// in L1.
  struct Tile {
    static constexpr std::int64_t cols = 64;
    alignas(64) float x[32][cols];

    template <class T>
    void load(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t cols_here, int height) {
      if (rows < height || cols_here < cols) std::memset(x, 0, sizeof x);
      const std::int64_t whole = cols_here / lanes * lanes;
      for (std::int64_t r = 0; r < rows && r < height; ++r) {
        const T* row = from + r * stride;
        for (std::int64_t c = 0; c < whole; c += lanes) F::load(row + c).store(x[r] + c);
        for (std::int64_t c = whole; c < cols_here; ++c) x[r][c] = F::widen(row[c]);
      }
    }
  };

  /// Sixteen rows of a strip of columns as they are stored. +0 beyond the matrix.
  template <class T>
  struct Sixteen {
    alignas(64) T x[16][transform_cols];

    void load(const T* from, std::int64_t stride, std::int64_t cols) {
      if (cols == transform_cols) {
#pragma GCC unroll 16
        for (int r = 0; r < 16; ++r) std::memcpy(x[r], from + r * stride, sizeof x[r]);
        return;
      }
      std::memset(x, 0, sizeof x);
      for (int r = 0; r < 16; ++r)
        std::memcpy(x[r], from + r * stride, static_cast<std::size_t>(cols) * sizeof(T));
    }

    /// See exact_sums(): of 2 * lanes columns.
    bool is_exact(std::int64_t col, F& bound) const {
      if constexpr (std::is_same_v<T, Bf16>) return F::exact_sums(x[0] + col, transform_cols, bound);
      return false;
    }
  };

  /// The element of each lane's block, for dialects that ask.
  struct ColumnElements {
    const Tile& tile;
    std::int64_t col;
    static constexpr int rows = 1;
    F operator()(int r, int j) const { return r == 0 ? F::load(tile.x[j] + col) : F(0); }
  };

  /// The maxima of `lanes` blocks, one a column.
  template <class D>
  static F column_maxima(const Tile& tile, std::int64_t col) {
    F maxima(0);
#pragma GCC unroll 16
    for (int j = 0; j < D::info.block_cols; ++j)
      maxima = larger_pattern(maxima, abs(F::load(tile.x[j] + col)));
    if (!any_nan(maxima)) return maxima;
    if constexpr (D::info.nan_in_block_amax) return select(is_nan(maxima), F(__builtin_nanf("")), maxima);
    F numbers(0);
    for (int j = 0; j < D::info.block_cols; ++j) {
      const F magnitude = abs(F::load(tile.x[j] + col));
      numbers = larger_pattern(numbers, select(is_nan(magnitude), F(0), magnitude));
    }
    return numbers;
  }

  template <class D, class Tensor>
  static BlockScale<F> column_scale(const Tile& tile, std::int64_t col, const Tensor& tensor) {
    const F largest = column_maxima<D>(tile, col);
    const ColumnElements elements{tile, col};
    if constexpr (requires { D::block(largest, tensor, elements); })
      return D::block(largest, tensor, elements);
    else
      return D::block(largest, tensor);
  }

  /// What the columns have so far, lane = column: dwords of eight codes, of up to 128 rows, and of four scales. Lines of
  /// columns are made of them when they are whole.
  using Dwords = std::uint32_t[16][transposed_cols];
  struct Columns {
    alignas(64) Dwords codes, scales;
  };

  /// Where in the columns a block belongs.
  struct Place {
    std::int64_t col, eight, scale;
  };

  /// One block of every column of a tile. Scales before codes, as in whole_groups.
  template <class D, class Tensor>
  static void quantize_tile(const Tile& tile, const Tensor& tensor, Columns& columns, const Place& place) {
    float encode[Tile::cols];
    for (std::int64_t c = 0; c < Tile::cols; c += lanes) {
      const auto scale = column_scale<D>(tile, c, tensor);
      scale.encode.store(encode + c);
      std::uint32_t* scales = columns.scales[place.scale / 4] + place.col + c;
      const int shift = static_cast<int>(place.scale % 4) * 8;
      (shift == 0 ? scale.code : Code::load(scales) | (scale.code << shift)).store(scales);
    }
    for (int eight = 0; eight < D::info.block_cols / 8; ++eight)
      for (std::int64_t c = 0; c < Tile::cols; c += lanes) {
        const F scale = F::load(encode + c);
        Code codes[8];
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) codes[j] = D::element(F::load(tile.x[8 * eight + j] + c), scale, tensor);
        eight_nibbles(codes).store(columns.codes[place.eight + eight] + place.col + c);
      }
  }

  /// One block of every column, by tiles, from row `first`; the rows below it are asked for.
  template <class D, class T, class Tensor>
  static void quantize_block_row(const QuantizeTask& t, std::int64_t first, const Tensor& tensor,
                                 Columns& columns) {
    constexpr int height = D::info.block_cols;
    Tile tile;
    for (std::int64_t col = 0; col < t.cols; col += Tile::cols) {
      const std::int64_t cols = t.cols - col < Tile::cols ? t.cols - col : Tile::cols;
      if (t.transform.exact)
        load_transformed<T>(t, first, col, height, tile);
      else
        tile.load(row<T>(t, first, col), t.x_stride, t.rows - first, cols, height);
      const bool last = col + Tile::cols >= t.cols;
      const T* next = last ? row<T>(t, first + height, 0) : row<T>(t, first, col + Tile::cols);
      for (int r = 0; r < height; ++r) prefetch<Tile::cols / 16>(next + r * t.x_stride);
      quantize_tile<D>(tile, tensor, columns, {col, first % 128 / 8, first / height});
    }
  }

  /// `bytes`, up to a line, of each of `cols` columns.
  static void store_lines(const Dwords& dwords, std::int64_t cols, std::uint8_t* to, std::int64_t stride,
                          std::int64_t bytes) {
    for (std::int64_t col = 0; col < cols; col += lanes) {
      alignas(64) std::uint32_t lines[lanes][16];
      for (int d = 0; d < 16; d += lanes) F::turn_dwords(dwords[d] + col, transposed_cols, lines[0] + d, 16);
      for (std::int64_t c = col; c < cols && c < col + lanes; ++c)
        if (bytes == 64)
          std::memcpy(to + c * stride, lines[c - col], 64);
        else
          std::memcpy(to + c * stride, lines[c - col], static_cast<std::size_t>(bytes));
    }
  }

  /// Up to `transposed_cols` columns. The codes of 128 rows fill a line.
  template <class D, class T>
  static void quantize_transposed(const QuantizeTask& t) {
    constexpr std::int64_t height = D::info.block_cols;
    const auto tensor = D::tensor(F(t.amax), t.setting);
    Columns columns;
    for (std::int64_t first = 0; first < t.rows; first += 128) {
      const std::int64_t rows = t.rows - first < 128 ? t.rows - first : 128;
      for (std::int64_t r = 0; r < rows; r += height) quantize_block_row<D, T>(t, first + r, tensor, columns);
      store_lines(columns.codes, t.cols, t.codes + first / 2, t.codes_stride,
                  (rows + height - 1) / height * (height / 2));
      for (std::int64_t c = 0; rows % height && c < t.cols; ++c)
        clear_pad<D>(t.codes + c * t.codes_stride + first / 2, rows);
    }
    store_lines(columns.scales, t.cols, t.scales, t.scales_stride, (t.rows + height - 1) / height);
  }

  /// In place, of `count` numbers, y[j] = sum over k of (-1)^popcount(k & j) y[k].
  template <int count, class V>
  [[gnu::always_inline]] static void butterflies(V* y) {
#pragma GCC unroll 4
    for (int half = 1; half < count; half *= 2)
#pragma GCC unroll 16
      for (int k = 0; k < count; ++k)
        if (!(k & half)) {
          const V a = y[k], b = y[k + half];
          y[k] = a + b;
          y[k + half] = a - b;
        }
  }

  /// One step of a tensor core on 16 numbers a lane (tensorcore.md 7). In units of 2^(e - 25), e the largest exponent,
  /// a conversion to integers is the cut of each term, 16 of them stay below 2^30, and the sum is exact. False where
  /// a power of two in this would leave FP32's normal range, or numbers are not finite.
  template <class T>
  static bool tensor_core(const Sixteen<T>& tile, std::int64_t col, const float (*entries)[16], F* y) {
    F largest(0);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) largest = larger_pattern(largest, abs(F::load(tile.x[k] + col)));
    const auto tiny = select(largest == F(0), F(1), largest) < F(0x1p-98f);
    if (any(tiny) || any_nan(largest * F(0))) return false;
    const F top = larger_pattern(binade(largest), F(0x1p-98f));
    const F units = F(0x1p25f) / top, quarter = top * F(0x1p-27f);
    Code sums[16];
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k)
      sums[k] = cut_to_integer(F::load(tile.x[k] + col) * (units * F(entries[k][0] < 0 ? -1.f : 1.f)));
    butterflies<16>(sums);
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) y[j] = toward_zero(sums[j]) * quarter;
    return true;
  }

  template <class T>
  static void fma_chain(const Sixteen<T>& tile, std::int64_t col, const float (*entries)[16], F* y) {
    for (int first = 0; first < 16; first += 8) {
      F sum[8] = {F(0), F(0), F(0), F(0), F(0), F(0), F(0), F(0)};
      for (int k = 0; k < 16; ++k) {
        const F x = F::load(tile.x[k] + col);
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) sum[j] = multiply_add(x, F(entries[k][first + j]), sum[j]);
      }
      for (int j = 0; j < 8; ++j) y[first + j] = select(is_nan(sum[j]), F(__builtin_nanf("")), sum[j]);
    }
  }

  /// The factors of the first column of the matrix, in every lane.
  struct Factors {
    F of[16];
    explicit Factors(const float (*entries)[16])
        : of{factor(entries, 0),  factor(entries, 1),  factor(entries, 2),  factor(entries, 3),
             factor(entries, 4),  factor(entries, 5),  factor(entries, 6),  factor(entries, 7),
             factor(entries, 8),  factor(entries, 9),  factor(entries, 10), factor(entries, 11),
             factor(entries, 12), factor(entries, 13), factor(entries, 14), factor(entries, 15)} {}
    static F factor(const float (*entries)[16], int k) { return F(entries[k][0]); }
  };

  /// Exact sums but for the last level: y[j] +- y[j + 8]. One half, then the other, for the registers. Adding +0 to
  /// the terms takes the sign from zeros: no later sum is then -0, as no chain from +0 is.
  template <class T>
  [[gnu::always_inline]] static void half_sums(const Sixteen<T>& tile, std::int64_t col,
                                               const Factors& factors, F* y) {
#pragma GCC unroll 2
    for (int first = 0; first < 16; first += 8) {
#pragma GCC unroll 8
      for (int k = first; k < first + 8; ++k) {
        const F x = F::load(tile.x[k] + col);
        if constexpr (F::fuses)
          y[k] = multiply_add(x, factors.of[k], F(0));
        else
          y[k] = x * factors.of[k] + F(0);
      }
      butterflies<8>(y + first);
    }
  }

  /// The groups of `lanes` columns whose sums may round.
  template <class T>
  [[gnu::noinline]] static bool rounding_sums(const Sixteen<T>& tile, std::int64_t col, const Transform& t,
                                              F* y) {
    if (!t.fma_chain) return tensor_core(tile, col, t.entries, y);
    if constexpr (F::fuses) fma_chain(tile, col, t.entries, y);
    return F::fuses;
  }

  struct Sums {
    F y[16] = {F(0), F(0), F(0), F(0), F(0), F(0), F(0), F(0),
               F(0), F(0), F(0), F(0), F(0), F(0), F(0), F(0)};
  };

  template <class T>
  static F rounded(F y) {
    if constexpr (std::is_same_v<T, Bf16>) return to_bf16(y);
    return y;
  }

  /// RNE of an exact sum: Veltkamp's splitting in two. p has 17 bits more than y, so that p - (p - y) is y to 8 bits, if
  /// p and y / 2^16 are normal. Of a tie, y = m 2^15 with m odd of 9 bits, p is 2^16 m and the multiple of 4 next to m
  /// (both in 2^15), and p - y rounds to 2^16 m: that multiple is left, the even one.
  template <class Out>
  static F exact_to(F y) {
    if constexpr (!std::is_same_v<Out, Bf16>) return y;
    const F p = y * F(65537);
    return p - (p - y);
  }

  /// The groups of `lanes` columns as `Out` has them, in FP32.
  template <class Out, class T>
  [[gnu::always_inline]] static bool transform(const Sixteen<T>& tile, std::int64_t col, const Transform& t,
                                               const Factors& factors, bool exact, Sums& sums) {
    if (exact) {
      half_sums(tile, col, factors, sums.y);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        const F a = sums.y[j], b = sums.y[j + 8];
        sums.y[j] = exact_to<Out>(a + b);
        sums.y[j + 8] = exact_to<Out>(a - b);
      }
      return true;
    }
    if (!rounding_sums(tile, col, t, sums.y)) return false;
#pragma GCC unroll 16
    for (F& y : sums.y) y = rounded<Out>(y);
    return true;
  }

  /// The transform of a tile's columns, of as many rows as the matrix has.
  template <class T>
  [[gnu::noinline]] static void load_transformed(const QuantizeTask& t, std::int64_t first, std::int64_t col,
                                                 int height, Tile& tile) {
    const Factors factors(t.transform.entries);
    Sixteen<T> from;
    if (t.rows - first < height) std::memset(tile.x, 0, sizeof tile.x);
    for (int r = 0; r < height && first + r < t.rows; r += 16) {
      const std::int64_t cols = t.cols - col < transform_cols ? t.cols - col : transform_cols;
      from.load(row<T>(t, first + r, col), t.x_stride, cols);
      const unsigned exact =
          t.transform.exact[(first + r) / 16 * t.transform.exact_stride + col / transform_cols];
      for (std::int64_t c = 0; c < transform_cols; c += lanes) {
        Sums sums;
        transform<T>(from, c, t.transform, factors, exact >> c / (2 * lanes) & 1, sums);
#pragma GCC unroll 16
        for (int j = 0; j < 16; ++j) sums.y[j].store(tile.x[r + j] + c);
      }
    }
  }

  /// The largest |y| of each lane. Of exact sums the last level of butterflies is max(|a + b|, |a - b|) = |a| + |b|.
  template <class T>
  static bool largest_sums(const Sixteen<T>& tile, std::int64_t col, const Transform& t, bool exact,
                           F& largest) {
    Sums sums;
    if (exact) {
      half_sums(tile, col, Factors(t.entries), sums.y);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) largest = larger_pattern(largest, abs(sums.y[j]) + abs(sums.y[j + 8]));
      return true;
    }
    if (!rounding_sums(tile, col, t, sums.y)) return false;
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) largest = larger_pattern(largest, abs(sums.y[j]));
    return true;
  }

  /// The largest lane or `least`; NaN if one is.
  static float greatest_lane(F numbers, float least) {
    float lane[lanes];
    numbers.store(lane);
    for (const float a : lane)
      if (!(a <= least)) least = __builtin_isnan(least) ? least : a;
    return least;
  }

  /// A tile's part of transformed_amax. Few exact sums are made: most have a bound that is not above `amax`.
  template <class T>
  static bool tile_amax(const Sixteen<T>& tile, const Transform& t, std::uint16_t& exact_bits, float& amax) {
    exact_bits = 0;
    for (std::int64_t c = 0; c < transform_cols; c += 2 * lanes) {
      F bound(0), largest(0);
      const bool exact = tile.is_exact(c, bound);
      exact_bits = static_cast<std::uint16_t>(exact_bits | exact << c / (2 * lanes));
      if (exact && !any(F(amax) < bound)) continue;
      if (!largest_sums(tile, c, t, exact, largest) || !largest_sums(tile, c + lanes, t, exact, largest))
        return false;
      amax = greatest_lane(rounded<T>(largest), amax);
    }
    return true;
  }

  template <class T>
  static bool transformed_amax(const TransformedAmaxTask& t, float& amax) {
    Sixteen<T> tile;
    for (std::int64_t col = 0; col < t.cols; col += transform_cols) {
      const T* x = static_cast<const T*>(t.x) + col;
      tile.load(x, t.x_stride, t.cols - col < transform_cols ? t.cols - col : transform_cols);
      for (int r = 0; r < 16; ++r) prefetch<transform_cols / 16>(x + r * t.x_stride + 2 * transform_cols);
      if (!tile_amax(tile, t.transform, t.transform.exact[col / transform_cols], amax)) return false;
    }
    return true;
  }

  /// Through a tile of the output, so that whole lines are written.
  template <class T, class Out>
  static bool hadamard_as(const HadamardTask& t) {
    Sixteen<T> tile;
    alignas(64) Out out[16][transform_cols];
    const Factors factors(t.transform.entries);
    tile.load(static_cast<const T*>(t.x), t.x_stride, t.cols);
    for (std::int64_t c = 0; c < t.cols; c += lanes) {
      F bound(0);
      Sums sums;
      const bool exact = tile.is_exact(c / (2 * lanes) * (2 * lanes), bound);
      if (!transform<float>(tile, c, t.transform, factors, exact, sums)) return false;
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) sums.y[j].narrow(out[j] + c);
    }
    for (int j = 0; j < 16; ++j)
      std::memcpy(static_cast<Out*>(t.out) + j * t.out_stride, out[j],
                  static_cast<std::size_t>(t.cols) * sizeof(Out));
    return true;
  }

  template <class T>
  static bool hadamard(const HadamardTask& t) {
    return t.rounded ? hadamard_as<T, T>(t) : hadamard_as<T, float>(t);
  }

  static float e4m3_value(std::uint8_t code) {
    const float magnitude = Lane<F>::e4m3_value(code & 0x7F);
    return code & 0x80 ? -magnitude : magnitude;
  }

  template <class D>
  static F element_values(const std::uint8_t* codes, int part) {
    if constexpr (D::info.element == Format::e2m1) return F::e2m1_values(codes, part);
    float values[lanes];
    for (int i = 0; i < lanes; ++i) values[i] = e4m3_value(codes[lanes * part + i]);
    return F::load(values);
  }

  template <class D>
  static void dequantize(const DequantizeTask& t) {
    const F global(t.global);
    for (std::int64_t j = 0; j < t.cols; j += 16) {
      const std::uint8_t code = t.scales[j / D::info.block_cols];
      const F scale(D::info.scale == Format::e8m0 ? Lane<F>::e8m0_value(code) : e4m3_value(code));
      const std::uint8_t* codes = t.codes + j / 16 * code_bytes<D>;
      float values[16];
      for (int p = 0; p < parts; ++p) {
        const F value = D::dequantize(element_values<D>(codes, p), scale, global, t.setting);
        select(is_nan(value), F(__builtin_nanf("")), value).store(values + lanes * p);
      }
      const std::int64_t count = t.cols - j < 16 ? t.cols - j : 16;
      std::memcpy(t.out + j, values, static_cast<std::size_t>(count) * 4);
    }
  }

  using Eden = dialects::quartet2_eden;

  /// Of `group` columns of a row, of which some blocks are there; the others have none.
  struct EdenProducts {
    float scale[group / 16], yy[group / 16], yq[group / 16];

    template <class T>
    EdenProducts(const T* x, const std::uint8_t* scales, float global, std::int64_t blocks) {
      for (int b = 0; b < group / 16; ++b) scale[b] = e4m3_value(scales[b]);
      for (int b = 0; b < group / 16; b += lanes) {
        const F encode = Eden::block_encode(F::load(scale + b), F(global));
        const auto p = Eden::products(Elements<T>{x + 16 * b, 0, 1, 1}, encode);
        p.yy.store(yy + b);
        p.yq.store(yq + b);
      }
      for (std::int64_t b = blocks; b < group / 16; ++b) yy[b] = yq[b] = 0;
    }

    /// In every block, the sum of the blocks that it shares a correction with.
    void meet(int blocks) {
      for (float* sums : {yy, yq})
        for (int first = 0; first < group / 16; first += blocks) {
          for (int half = blocks / 2; half > 0; half /= 2)
            for (int b = first; b < first + half; ++b) sums[b] += sums[b + half];
          for (int b = first + 1; b < first + blocks; ++b) sums[b] = sums[first];
        }
    }

    void corrected(float* out) const {
      for (int b = 0; b < group / 16; b += lanes) {
        const F s = Eden::correction(Eden::Products<F>{F::load(yy + b), F::load(yq + b)});
        (F::load(scale + b) * s).store(out + b);
      }
    }
  };

  /// Through copies filled up with zeros where the row ends.
  template <class T>
  static void corrected_scales(const EdenTask& t) {
    for (std::int64_t col = 0; col < t.cols; col += group) {
      const std::int64_t cols = t.cols - col < group ? t.cols - col : group, blocks = (cols + 15) / 16;
      T x[group] = {};
      std::uint8_t scales[group / 16] = {};
      float corrected[group / 16];
      std::memcpy(x, static_cast<const T*>(t.x) + col, static_cast<std::size_t>(cols) * sizeof(T));
      std::memcpy(scales, t.scales + col / 16, static_cast<std::size_t>(blocks));
      EdenProducts products(x, scales, t.global, blocks);
      products.meet(t.blocks);
      products.corrected(corrected);
      std::memcpy(t.corrected + col / 16, corrected, static_cast<std::size_t>(blocks) * sizeof(float));
    }
  }

  /// What the dialect keeps of a tensor whose amax this is.
  template <class D>
  static float global(float amax, const Setting& setting) {
    if constexpr (D::info.global_is == GlobalIs::none)
      return 1;
    else {
      const F kept = D::tensor(F(amax), setting).global;
      float lane[lanes];
      select(is_nan(kept), F(__builtin_nanf("")), kept).store(lane);
      return lane[0];
    }
  }

  static constexpr Table table{
      .amax_bits = {amax_bits<float>, amax_bits<Bf16>, amax_bits<Fp16>},
      .quantize = Dialects::table([]<class D>(D) -> std::array<void (*)(const QuantizeTask&), 3> {
        return {quantize<D, float>, quantize<D, Bf16>, quantize<D, Fp16>};
      }),
      .quantize_transposed = Dialects::table([]<class D>(D) -> std::array<void (*)(const QuantizeTask&), 3> {
        if constexpr (D::info.element != Format::e2m1)
          return {};
        else
          return {quantize_transposed<D, float>, quantize_transposed<D, Bf16>, quantize_transposed<D, Fp16>};
      }),
      .global = Dialects::table([]<class D>(D) { return global<D>; }),
      .dequantize = Dialects::table([]<class D>(D) { return dequantize<D>; }),
      .corrected_scales = {corrected_scales<float>, corrected_scales<Bf16>, corrected_scales<Fp16>},
      .random_words = philox_blocks<F>,
      .tiles = F::tiles,
      .block_tiles = F::block_tiles,
      .group_chains = group_chains,
      .hadamard = {hadamard<float>, hadamard<Bf16>, nullptr},
      .transformed_amax = {transformed_amax<float>, transformed_amax<Bf16>, nullptr},
  };
};

}  // namespace nvfp4::isa
