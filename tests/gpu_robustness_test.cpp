#include <doctest/doctest.h>

#include <cstring>
#include <stdexcept>
#include <vector>

#include <nvfp4/gpu.hpp>
#include <nvfp4/kernels.hpp>

#include "gpu/amax.hpp"
#include "gpu/gemm.hpp"
#include "gpu/quantize.hpp"
#include "gpu/quantize_rows.hpp"
#include "tests/gaussian.hpp"
#include "tests/gpu.hpp"
#include "tests/gpu_memory.hpp"

using namespace nvfp4;
using gpu::check;
using gpu::DeviceArray;

/// What a training run asks of launches: graphs, tensors beyond 2^31 elements, errors for what cannot be.
namespace {

struct Quantized {
  DeviceArray<std::uint8_t> codes, scales;
  DeviceArray<float> global{1}, amax{1};
  Quantized(std::int64_t rows, std::int64_t cols)
      : codes(static_cast<std::size_t>(rows * cols / 2)),
        scales(static_cast<std::size_t>(rows * cols / 16)) {}
  gpu::TensorParts parts() const { return {codes.data(), scales.data(), global.data()}; }
  gpu::CodedOperand operand(std::int64_t rows, std::int64_t k) const {
    return {codes.data(), scales.data(), rows, k};
  }
};

void quantize_on(MatrixView x, const Quantized& to, cudaStream_t stream) {
  gpu::tensor_amax(x, to.amax.data(), stream);
  gpu::quantize_rows(x, {}, to.amax.data(), to.parts(), ScaleLayout::linear, stream);
}

/// Everything that a stream is given in `work`, run twice as a graph.
template <class Work>
void run_as_graph(const Work& work) {
  cudaStream_t stream{};
  cudaGraph_t graph{};
  cudaGraphExec_t ready{};
  check(cudaStreamCreate(&stream), "stream");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  work(stream);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&ready, graph, 0), "graph");
  for (int i = 0; i < 2; ++i) check(cudaGraphLaunch(ready, stream), "graph");
  check(cudaStreamSynchronize(stream), "stream");
  check(cudaGraphExecDestroy(ready), "graph");
  check(cudaGraphDestroy(graph), "graph");
  check(cudaStreamDestroy(stream), "stream");
}

}  // namespace

TEST_CASE("gpu: two operands are quantized and multiplied in one graph") {
  if (gpu_layer::is_missing()) return;
  const Matrix a = gaussian::matrix(200, 320, 1), b = gaussian::matrix(136, 320, 2);
  const Matrix expected =
      cpu_kernels().multiply(cpu_kernels().quantize(a.view(), {}, {}),
                             cpu_kernels().quantize(b.view(), {}, {}), *find_accumulation("sm100_nvfp4"), {});
  const DeviceArray<float> x(std::span(a.f32(), 200 * 320)), y(std::span(b.f32(), 136 * 320)), d(200 * 136);
  const Quantized qx(200, 320), qy(136, 320);
  for (const gpu::Engine engine : {gpu::Engine::emulated, gpu::Engine::mma_sync}) {
    const DeviceArray<std::byte> workspace(static_cast<std::size_t>(gpu::gemm_bytes(200, 136, 320)));
    run_as_graph([&](cudaStream_t stream) {
      quantize_on({x.data(), 200, 320, Dtype::fp32}, qx, stream);
      quantize_on({y.data(), 136, 320, Dtype::fp32}, qy, stream);
      gpu::gemm({.a = qx.operand(200, 320), .b = qy.operand(136, 320), .d = d.data()}, engine,
                workspace.data(), stream);
    });
    Matrix found(200, 136);
    d.copy_to({found.f32(), d.size()});
    CHECK(found.bytes == expected.bytes);
  }
}

TEST_CASE("gpu: memory that is not there is an error, and the next call works") {
  if (gpu_layer::is_missing()) return;
  CHECK_THROWS_AS(DeviceArray<float>(std::size_t{1} << 46), std::runtime_error);
  const Matrix x = gaussian::matrix(3, 40, 1);
  CHECK(gpu_kernels().amax(x.view(), dialects::te::info) == cpu_kernels().amax(x.view(), dialects::te::info));
}

TEST_CASE("gpu: a tensor of more than 2^31 elements") {
  if (gpu_layer::is_missing()) return;
  constexpr std::int64_t rows = 70016, cols = 32768, part = 64;
  Matrix some = converted(gaussian::matrix(part, cols, 3).view(), Dtype::bf16, cpu_kernels());
  const DeviceArray<std::uint16_t> x(static_cast<std::size_t>(rows * cols));
  for (std::int64_t row = 0; row < rows; row += part)
    check(cudaMemcpy(x.data() + row * cols, some.bytes.data(), some.bytes.size(), cudaMemcpyHostToDevice),
          "copy");
  const MatrixView view{x.data(), rows, cols, Dtype::bf16};
  const BlockScaledTensor expected = cpu_kernels().quantize(some.view(), {}, {});
  const Quantized q(rows, cols);
  for (const bool fast : {true, false}) {
    gpu::tensor_amax(view, q.amax.data(), nullptr);
    if (fast)
      gpu::quantize_rows(view, {}, q.amax.data(), q.parts(), ScaleLayout::linear, nullptr);
    else
      gpu::quantize(view, false, {}, q.amax.data(), q.parts(), nullptr);
    std::vector<std::uint8_t> codes(expected.codes.size()), scales(expected.scales.size());
    check(cudaMemcpy(codes.data(), q.codes.data() + q.codes.size() - codes.size(), codes.size(),
                     cudaMemcpyDeviceToHost),
          "copy");
    check(cudaMemcpy(scales.data(), q.scales.data() + q.scales.size() - scales.size(), scales.size(),
                     cudaMemcpyDeviceToHost),
          "copy");
    CHECK(codes == expected.codes);
    CHECK(scales == expected.scales);
  }
}
