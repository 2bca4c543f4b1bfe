#include <cuda_fp4.h>
#include <cuda_fp8.h>

#include <cfloat>
#include <cstdio>
#include <fstream>
#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>
#include <nvfp4/testing.hpp>
#include <stdexcept>

/// One thread a block of 16, cols a multiple of 16: dialect te, packed codes, scales in layout 128x4.
__global__ void quantize(const float* x, float tensor_amax, int rows, int cols, std::uint8_t* codes,
                         std::uint8_t* scales) {
  const int blocks = cols / 16, index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= rows * blocks) return;
  const int row = index / blocks, col = index % blocks;
  const float* in = x + 16 * index;

  float amax = 0;
  for (int j = 0; j < 16; ++j) amax = fmaxf(amax, fabsf(in[j]));
  float encode = fminf(2688 / tensor_amax, FLT_MAX);
  if (tensor_amax == 0 || encode == 0) encode = 1;
  const auto scale =
      __nv_cvt_float_to_fp8(fminf(amax * (encode * (1.0f / 6)), FLT_MAX), __NV_SATFINITE, __NV_E4M3);
  const float decoded = __half2float(__half(__nv_cvt_fp8_to_halfraw(scale, __NV_E4M3)));
  const float multiplier = fminf(1 / (decoded * (1 / encode)), FLT_MAX);

  for (int j = 0; j < 8; ++j)
    codes[8 * index + j] = __nv_cvt_float2_to_fp4x2({in[2 * j] * multiplier, in[2 * j + 1] * multiplier},
                                                    __NV_E2M1, cudaRoundNearest);
  scales[(row / 128 * ((blocks + 3) / 4) + col / 4) * 512 + row % 32 * 16 + row % 128 / 32 * 4 + col % 4] =
      scale;
}

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

template <class T>
T* device(std::size_t count) {
  void* memory;
  check(cudaMalloc(&memory, count * sizeof(T)));
  check(cudaMemset(memory, 0xCC, count * sizeof(T)));  // what a kernel does not write is not zero by chance
  return static_cast<T*>(memory);
}

void dump(const char* file, const std::uint8_t* from, std::size_t size) {
  std::vector<char> bytes(size);
  check(cudaMemcpy(bytes.data(), from, size, cudaMemcpyDeviceToHost));
  std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(size));
}

/// kernel FILE CASE: quantizes FILE's CASE/input, leaves codes.bin and scales.bin; exit 1 where they are wrong.
int main(int, char** argv) try {
  const nvfp4::Matrix x = nvfp4::io::load_matrix(argv[1], {.array = std::string(argv[2]) + "/input"});
  const nvfp4::BlockScaledTensor expected = nvfp4::cpu_kernels().quantize(x.view(), {}, {});

  const std::int64_t blocks = expected.blocks_per_row();
  const auto extent = nvfp4::padded(nvfp4::ScaleLayout::tiled_128x4, x.rows, blocks);
  const std::size_t codes_size = expected.codes.size(), scales_size = extent.rows * extent.cols;
  auto* input = device<float>(x.rows * x.cols);
  auto *codes = device<std::uint8_t>(codes_size), *scales = device<std::uint8_t>(scales_size);
  check(cudaMemcpy(input, x.f32(), x.bytes.size(), cudaMemcpyHostToDevice));
  quantize<<<(x.rows * blocks + 127) / 128, 128>>>(input, expected.global[0], x.rows, x.cols, codes, scales);
  check(cudaDeviceSynchronize());
  dump("codes.bin", codes, codes_size);
  dump("scales.bin", scales, scales_size);

  nvfp4::testing::Result actual{.codes = {codes, codes_size}, .scales = {scales, scales_size}};
  actual.layout = nvfp4::ScaleLayout::tiled_128x4;
  actual.padding = nvfp4::testing::Padding::anything;
  actual.copy = [](void* host, const void* from, std::size_t size) {
    check(cudaMemcpy(host, from, size, cudaMemcpyDeviceToHost));
  };
  const auto report = nvfp4::testing::compare(actual, expected, x.view());
  std::fputs(report.message.c_str(), stderr);
  return report.equal() ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "kernel: %s\n", error.what());
  return 2;
}
