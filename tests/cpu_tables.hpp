#pragma once
#include <vector>

#include <nvfp4/kernels.hpp>

/// The CPU layer by each instruction set that this machine has.
inline std::vector<const nvfp4::Kernels*> cpu_tables() {
  std::vector<const nvfp4::Kernels*> tables;
  for (const nvfp4::Isa isa : {nvfp4::Isa::portable, nvfp4::Isa::avx2, nvfp4::Isa::avx512, nvfp4::Isa::amx})
    if (const nvfp4::Kernels* kernels = nvfp4::cpu_kernels(isa)) tables.push_back(kernels);
  return tables;
}
