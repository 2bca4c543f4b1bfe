#pragma once
#include <cuda_fp16.h>

#include <nvfp4/dialects/all.hpp>

#include "number.cuh"

/// A block of 16 elements in the registers of one thread, from its amax to its codes.
namespace nvfp4::gpu {

/// As they are stored: two 16-bit elements a word, the first low.
template <Dtype T>
struct Sixteen {
  static constexpr int words = T == Dtype::fp32 ? 16 : 8;
  static constexpr std::uint32_t infinity = T == Dtype::fp32   ? 0x7F800000
                                            : T == Dtype::bf16 ? 0x7F80
                                                               : 0x7C00;
  static constexpr int rows = 1;  ///< as dialects ask of elements
  std::uint32_t word[words];

  __device__ static float widen(std::uint32_t pattern) {
    if constexpr (T == Dtype::fp32) return __uint_as_float(pattern);
    if constexpr (T == Dtype::bf16) return __uint_as_float(pattern << 16);
    return __half2float(__ushort_as_half(static_cast<unsigned short>(pattern)));
  }
  __device__ float at(int j) const {
    if constexpr (T == Dtype::fp32) return __uint_as_float(word[j]);
    if constexpr (T == Dtype::bf16)
      return __uint_as_float(j % 2 ? word[j / 2] & 0xFFFF0000 : word[j / 2] << 16);
    return widen(j % 2 ? word[j / 2] >> 16 : word[j / 2] & 0xFFFF);
  }
  __device__ Number operator()(int, int j) const { return Number(at(j)); }

  /// |x| of eight elements.
  __device__ void magnitudes(int first, float (&a)[8]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) a[i] = fabsf(at(first + i));
  }

  /// Bytes of ones for negative elements: the even ones of two words, then the odd ones. __byte_perm has no such mode.
  __device__ static std::uint32_t sign_bytes(std::uint32_t a, std::uint32_t b) {
    std::uint32_t bytes;
    asm("prmt.b32 %0, %1, %2, 0xFBD9;" : "=r"(bytes) : "r"(a), "r"(b));
    return bytes;
  }

  /// The signs of eight elements where their codes have them: bit 3 of each nibble.
  __device__ std::uint32_t signs(int first) const {
    if constexpr (T == Dtype::fp32) {
      std::uint32_t all = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) all |= (word[first + i] >> 31) << (4 * i + 3);
      return all;
    } else {
      const std::uint32_t* w = word + first / 2;
      const std::uint32_t low = sign_bytes(w[0], w[1]), high = sign_bytes(w[2], w[3]);
      const std::uint32_t even = __byte_perm(low, high, 0x5410), odd = __byte_perm(low, high, 0x7632);
      return ((even & 0x0F0F0F0F) | (odd & 0xF0F0F0F0)) & 0x88888888;
    }
  }

  /// The largest |x| as bits of its type: beyond `infinity` where there is a NaN.
  __device__ std::uint32_t amax_pattern() const {
    std::uint32_t largest = 0;
    if constexpr (T == Dtype::fp32) {
#pragma unroll
      for (int i = 0; i < 16; i += 2)
        largest = __vimax3_u32(largest, word[i] & 0x7FFFFFFF, word[i + 1] & 0x7FFFFFFF);
      return largest;
    } else {
      std::uint32_t pairs = larger(word[0], word[1]);
#pragma unroll
      for (int i = 2; i < 8; ++i) pairs = larger(pairs, word[i]);
      return larger(pairs, pairs >> 16) & 0x7FFF;
    }
  }

  /// In each half the larger magnitude, or NaN where there is one, with a sign that means nothing.
  __device__ static std::uint32_t larger(std::uint32_t a, std::uint32_t b) {
#if __CUDA_ARCH__ >= 860
    std::uint32_t both;
    if constexpr (T == Dtype::bf16)
      asm("max.NaN.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(both) : "r"(a), "r"(b));
    else
      asm("max.NaN.xorsign.abs.f16x2 %0, %1, %2;" : "=r"(both) : "r"(a), "r"(b));
    return both;
#else
    return __vmaxu2(a & 0x7FFF7FFF, b & 0x7FFF7FFF);
#endif
  }

  __device__ float amax_without_nan() const {
    float largest = 0;
#pragma unroll
    for (int j = 0; j < 16; ++j) largest = fmaxf(largest, fabsf(at(j)));
    return largest;
  }
};

/// A block's largest |x| by the dialect's rule, and a bound of all: NaN where there is one.
struct Largest {
  float amax, bound;
};

template <class D, Dtype T>
__device__ Largest largest_of(const Sixteen<T>& x) {
  const std::uint32_t pattern = x.amax_pattern();
  const float bound = Sixteen<T>::widen(pattern);
  if (pattern <= Sixteen<T>::infinity) return {bound, bound};
  return {D::info.nan_in_block_amax ? default_nan().value : x.amax_without_nan(), bound};
}

template <class D, Dtype T, class Tensor>
__device__ BlockScale<Number> block_scale(const Sixteen<T>& x, Number amax, const Tensor& tensor) {
  if constexpr (requires { D::block(amax, tensor, x); })
    return D::block(amax, tensor, x);
  else
    return D::block(amax, tensor);
}

/// Dialects whose element is e2m1_satfinite(x * encode).
template <class D>
inline constexpr bool is_product =
    std::is_base_of_v<dialects::te, D> || std::is_base_of_v<dialects::te_choice<dialects::te>, D> ||
    std::is_base_of_v<dialects::vllm, D>;

/// The same but for subnormals, which are flushed: their codes are 0 unless encode is vast.
template <class D>
inline constexpr bool is_flushed_product =
    std::is_base_of_v<dialects::flashinfer, D> || std::is_base_of_v<dialects::flashinfer_per_token, D>;

/// Whether codes are products' and every |x| * encode is below 7, where the lines of e2m1.cuh need no bound.
template <class D>
__device__ bool is_tame(float bound, float encode) {
  if constexpr (is_flushed_product<D>) return bound * encode < 6.9f && encode < 0x1p100f;
  return is_product<D> && bound * encode < 6.9f;
}

/// What elements are multiplied by where that depends on the block scale alone: looked up, not divided for.
template <class D>
struct Encodes {
  static constexpr bool exist = requires(Number a) { D::block_encode(a, a); };
  float of[exist ? 128 : 1];

  template <class Tensor>
  __device__ void fill(const Tensor& tensor, int code) {
    if constexpr (exist)
      of[code] = D::block_encode(e4m3_value(static_cast<std::uint32_t>(code)), tensor.decode).value;
  }
  __device__ Number encode(const BlockScale<Number>& scale) const {
    return exist ? Number(of[scale.code.bits]) : scale.encode;
  }
};

/// Eight codes of x * encode, which is tame.
template <Dtype T>
__device__ std::uint32_t nearest_eight(const Sixteen<T>& x, int first, float encode) {
  std::uint32_t codes = 0;
#ifdef NVFP4_GPU_CVT_E2M1
#pragma unroll
  for (int i = 0; i < 8; i += 2)
    codes |= cvt_e2m1x2(x.at(first + i) * encode, x.at(first + i + 1) * encode) << (4 * i);
  return codes;
#else
  float a[8];
  x.magnitudes(first, a);
#pragma unroll
  for (int i = 7; i >= 0; --i) {
    const float y = __fmul_rn(a[i], encode);
    codes = (codes << 4) + __vimin3_u32(__float_as_uint(__fmaf_rn(y, 2, 0x1p23f)),
                                        __float_as_uint(__fadd_rn(y, 0x1.000004p23f)),
                                        __float_as_uint(__fmaf_rn(y, 0.5f, 0x1.000008p23f)));
  }
  return (codes - 0xFB000000) | x.signs(first);  // 0x4B000000 of each, of which the sum keeps the last two
#endif
}

/// 256 times the code of y, cut: see portable::e2m1_cut_256ths. 2^15 is where FP32's step is a 256th.
__device__ inline std::uint32_t cut_256ths(float y) {
  return __vimin3_u32(__float_as_uint(__fmaf_rz(y, 2, 0x1p15f)), __float_as_uint(__fadd_rz(y, 0x1.0004p15f)),
                      __float_as_uint(__fmaf_rz(y, 0.5f, 0x1.0008p15f)));
}

/// Eight codes by SrRule::carry of the words' bytes as ByteMap::hw gives them.
template <Dtype T>
__device__ std::uint32_t carry_eight(const Sixteen<T>& x, int first, float encode, std::uint32_t word0,
                                     std::uint32_t word1) {
#ifdef NVFP4_GPU_CVT_RS
  float y[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) y[i] = x.at(first + i) * encode;
  return cvt_rs_e2m1x4({y[0], y[1], y[2], y[3]}, word0) | cvt_rs_e2m1x4({y[4], y[5], y[6], y[7]}, word1)
                                                              << 16;
#else
  float a[8];
  x.magnitudes(first, a);
  std::uint32_t pair[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t low = cut_256ths(__fmul_rn(a[2 * i], encode)),
                        high = cut_256ths(__fmul_rn(a[2 * i + 1], encode));
    const std::uint32_t word = i < 2 ? word0 : word1;
    pair[i] =
        __vminu2(__byte_perm(low, high, 0x5410), 0x07000700) + ((i % 2 ? word >> 8 : word) & 0x00FF00FF);
  }
  const std::uint32_t low = __byte_perm(pair[0], pair[1], 0x7351),
                      high = __byte_perm(pair[2], pair[3], 0x7351);
  return (__byte_perm(low, high, 0x5410) + (__byte_perm(low, high, 0x7632) << 4)) | x.signs(first);
#endif
}

/// Sixteen codes, the first in the lowest nibble, element by element. Rare, and so not inlined.
template <class D, Dtype T, class Tensor>
__device__ __noinline__ uint2 literal_nearest(Sixteen<T> x, Number encode, Tensor tensor) {
  std::uint32_t codes[2] = {0, 0};
#pragma unroll
  for (int j = 0; j < 16; ++j)
    codes[j / 8] |= D::element(Number(x.at(j)), encode, tensor).bits << (j % 8 * 4);
  return make_uint2(codes[0], codes[1]);
}

/// The same, stochastic. `random` as random_words() gives it.
template <class D, Dtype T, class Tensor>
__device__ __noinline__ uint2 literal_stochastic(Sixteen<T> x, Number encode, Tensor tensor, SrRule rule,
                                                 uint4 random) {
  const std::uint32_t words[4] = {random.x, random.y, random.z, random.w};
  std::uint32_t codes[2] = {0, 0};
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const Number y = D::scaled(Number(x.at(j)), encode, tensor);
    const std::uint32_t byte = words[j / 4] >> (8 * byte_of(ByteMap::hw, j % 4)) & 0xFF;
    codes[j / 8] |= e2m1_stochastic(y, Code(byte), rule).bits << (j % 8 * 4);
  }
  return make_uint2(codes[0], codes[1]);
}

template <class D, Dtype T, class Tensor>
__device__ uint2 nearest_codes(const Sixteen<T>& x, float bound, Number encode, const Tensor& tensor) {
  if (!is_tame<D>(bound, encode.value)) return literal_nearest<D>(x, encode, tensor);
  return make_uint2(nearest_eight(x, 0, encode.value), nearest_eight(x, 8, encode.value));
}

template <class D, Dtype T, class Tensor>
__device__ uint2 stochastic_codes(const Sixteen<T>& x, float bound, Number encode, const Tensor& tensor,
                                  SrRule rule, uint4 random) {
  if (rule != SrRule::carry || !is_tame<D>(bound, encode.value))
    return literal_stochastic<D>(x, encode, tensor, rule, random);
  return make_uint2(carry_eight(x, 0, encode.value, random.x, random.y),
                    carry_eight(x, 8, encode.value, random.z, random.w));
}

}  // namespace nvfp4::gpu
