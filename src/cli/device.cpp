#include "device.hpp"

#include "command.hpp"

namespace nvfp4::cli {

void declare_device(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "reference|cpu|gpu: the layer that computes; all give the same bytes")
      ->default_str("cpu")
      ->type_name("NAME");
}

const Kernels& kernels_of(const std::string& device) {
  if (device == "cpu") return cpu_kernels();
  if (device == "reference") return reference_kernels();
  if (device == "gpu")
    throw UsageError("--device gpu: this build has no GPU layer: expected reference or cpu");
  throw UsageError("--device " + device + ": expected reference, cpu or gpu");
}

}  // namespace nvfp4::cli
