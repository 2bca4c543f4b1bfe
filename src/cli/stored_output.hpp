#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <nvfp4/identify.hpp>
#include <nvfp4/io.hpp>

namespace nvfp4::cli {

/// Somebody's result as its arrays stand in a file, whatever their shapes.
struct StoredOutput {
  std::int64_t rows = 0;
  std::vector<std::uint8_t> codes, scales;
  std::vector<float> global;
  UnknownOutput view() const { return {rows, codes, scales, global}; }
};

/// Arrays prefix + packed, scales (or where it is missing scales_swizzled), and global where there is one.
StoredOutput stored_output(const io::ArrayFile&, const std::string& prefix);

/// The array of a file that has but one. Throws io::FileError for another.
io::Array only_array(const std::string& path);

/// Files of one array each; an empty `global` is none.
StoredOutput stored_output(const std::string& packed, const std::string& scales, const std::string& global);

}  // namespace nvfp4::cli
