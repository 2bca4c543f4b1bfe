#pragma once
#include <vector>

#include <nvfp4/tensor.hpp>

#include "gpu/expand.hpp"
#include "gpu/memory.hpp"

namespace gpu_array {

/// An array on the device, of zeros or of these values.
template <class T>
struct Array : nvfp4::gpu::DeviceArray<T> {
  explicit Array(std::size_t size) : nvfp4::gpu::DeviceArray<T>(size) { this->clear(); }
  explicit Array(const std::vector<T>& values) : nvfp4::gpu::DeviceArray<T>(std::span(values)) {}
  std::vector<T> values() const {
    std::vector<T> values(this->size());
    this->copy_to(values);
    return values;
  }
};

/// An operand of a product on the device, as codes and expanded.
class OnDevice {
  Array<std::uint8_t> codes_, scales_, workspace_;

 public:
  explicit OnDevice(const nvfp4::BlockScaledTensor& t)
      : codes_(t.codes),
        scales_(t.scales),
        workspace_(static_cast<std::size_t>(nvfp4::gpu::expand_bytes(t.rows, t.cols))),
        coded{codes_.data(), scales_.data(), t.rows, t.cols},
        expanded(nvfp4::gpu::expand(coded, workspace_.data(), nullptr)) {}

  nvfp4::gpu::CodedOperand coded;
  nvfp4::gpu::ExpandedOperand expanded;
};

}  // namespace gpu_array
