#pragma once
#include <CLI/App.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// The program's parser, one subcommand for each row of the table.
struct Program {
  CLI::App app{"NVFP4 numerics: quantize, make golden values, check them byte by byte.", "nvfp4"};
  Run run;  ///< of the command that was parsed
  bool json = false;
  int threads = 0;
  Program();
};

}  // namespace nvfp4::cli
