#pragma once
#include <cstdint>
#include <map>
#include <string>

#include <nvfp4/io/quantized.hpp>

namespace nvfp4::io {

/// What the manifest of a quantized tensor says.
struct Manifest {
  QuantizeSpec spec;
  Dtype dtype = Dtype::fp32;        ///< of the input
  std::int64_t rows = 0, cols = 0;  ///< of one expert, in a stack
  std::int64_t experts = 0;         ///< 0: one matrix
  ScaleLayout layout = ScaleLayout::linear;
  std::map<std::string, Option> options;
  Provenance provenance;
};

std::string to_json(const Manifest&);

/// The array of this name, parsed.
Manifest read_manifest(const ArrayFile&, const std::string& name);

/// `place` is the manifest's array in messages. Throws FileError; unknown fields are passed over.
Manifest parse_manifest(std::string_view json, const std::string& file, const std::string& place);

}  // namespace nvfp4::io
