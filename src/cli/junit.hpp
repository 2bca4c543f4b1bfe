#pragma once
#include <string>
#include <vector>

#include "case_check.hpp"

namespace nvfp4::cli {

/// A JUnit report, one test case for each verdict; refused ones are skipped.
std::string junit_xml(const std::string& suite, const std::vector<Verdict>&);

}  // namespace nvfp4::cli
