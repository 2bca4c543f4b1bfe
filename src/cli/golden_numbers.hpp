#pragma once
#include <cstdint>

#include <nvfp4/tensor.hpp>

#include "case_check.hpp"
#include "golden_file.hpp"

namespace nvfp4::cli {

/// BF16 numbers over eight binades: 8 random bits of significand, 3 of exponent, a sign.
Matrix random_numbers(std::int64_t rows, std::int64_t cols, std::uint64_t seed, std::uint64_t stream);

GoldenArray float_array(const std::string& name, const Matrix&);

/// Adds to the verdict what differs. Throws io::FileError for another type or shape than ours.
void compare_matrix(const io::Array& given, const GoldenArray& ours, Verdict&);

}  // namespace nvfp4::cli
