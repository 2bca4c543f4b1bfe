#include "device.hpp"

#ifdef NVFP4_WITH_GPU
#include <nvfp4/gpu.hpp>
#endif

#include <stdexcept>

#include <CLI/App.hpp>

namespace nvfp4::cli {

void declare_device(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "reference|cpu|gpu: the layer that computes; all give the same bytes")
      ->default_str("cpu")
      ->type_name("NAME");
}

namespace {

const Kernels& gpu_or_refusal() {
#ifdef NVFP4_WITH_GPU
  try {
    return gpu_kernels();
  } catch (const std::runtime_error& e) {
    throw UsageError(std::string("--device gpu: ") + e.what());
  }
#else
  throw UsageError("--device gpu: this build has no GPU layer: expected reference or cpu");
#endif
}

}  // namespace

const Kernels& kernels_of(const std::string& device) {
  if (device == "cpu") return cpu_kernels();
  if (device == "reference") return reference_kernels();
  if (device == "gpu") return gpu_or_refusal();
  throw UsageError("--device " + device + ": expected reference, cpu or gpu");
}

}  // namespace nvfp4::cli
