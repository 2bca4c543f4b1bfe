#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <nvfp4/kernels.hpp>

/// Library nvfp4::gpu, built where nvcc is.
namespace nvfp4 {

/// The table of the current CUDA device, of compute capability 8.0 or more: tensors are copied there and back. For data
/// that lies there already, gpu/ has launches on pointers and streams. Throws std::runtime_error that says why where
/// there is no such device; its entries do where CUDA fails, as for memory.
const Kernels& gpu_kernels();

/// Name and compute capability of the current device, and the CUDA driver's version. Throws as gpu_kernels() does.
std::string gpu_description();

/// An instruction of the current device against what this library says that it does.
struct InstructionCheck {
  std::string instruction;  ///< as PTX has it, shortened
  std::string model;        ///< what says so: an accumulation, or a conversion of Kernels
  std::int64_t cases = 0, equal = 0, differing_bytes = 0;
  bool exists = true;   ///< else this device lacks it, and no case was run
  std::string first{};  ///< the first difference, in words
  bool has_hypotheses = false;
  std::vector<std::string> survivors{};  ///< of them, those that fit every result
};

/// Conversions, rcp.approx and matrix instructions on operands of every kind. Throws as gpu_kernels() does.
std::vector<InstructionCheck> check_instructions(std::uint64_t seed);

}  // namespace nvfp4
