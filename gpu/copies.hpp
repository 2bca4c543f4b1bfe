#pragma once
#include <cstddef>

#include <nvfp4/tensor.hpp>

#include "memory.hpp"
#include "quantize.hpp"

/// What lies in the host's memory, copied to the device.
namespace nvfp4::gpu {

struct DeviceMatrix {
  DeviceArray<std::byte> bytes;
  MatrixView shape;
  explicit DeviceMatrix(MatrixView x)
      : bytes(std::span(static_cast<const std::byte*>(x.data),
                        static_cast<std::size_t>(x.rows * x.cols) * size_of(x.dtype))),
        shape(x) {}
  MatrixView view() const { return {bytes.data(), shape.rows, shape.cols, shape.dtype}; }
};

struct DeviceTensor {
  DeviceArray<std::uint8_t> codes, scales;
  DeviceArray<float> global;
  explicit DeviceTensor(const BlockScaledTensor& t)
      : codes(std::span(t.codes)), scales(std::span(t.scales)), global(std::span(t.global)) {}
  TensorParts parts() const { return {codes.data(), scales.data(), global.data()}; }
};

}  // namespace nvfp4::gpu
