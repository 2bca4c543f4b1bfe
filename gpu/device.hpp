#pragma once

namespace nvfp4::gpu {

/// 10 * major + minor of the current device. Throws std::runtime_error where there is none.
int capability();

/// Throws std::runtime_error that says why where the current device cannot run this layer.
void require_device();

}  // namespace nvfp4::gpu
