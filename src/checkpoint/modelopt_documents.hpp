#pragma once
#include <map>
#include <string>

#include "convention.hpp"

namespace nvfp4 {

/// "NVFP4", "W4A8_NVFP4_FP8", ... of each module, as hf_quant_config.json or else config.json has it.
class ModeloptAlgorithms {
 public:
  explicit ModeloptAlgorithms(const Documents&);
  /// Empty where nothing is said.
  const std::string& of(const std::string& module) const;

 private:
  std::string all_;
  std::map<std::string, std::string> layers_;  ///< of MIXED_PRECISION
};

/// ModelOpt's documents, or Quark's.
bool modelopt_declared(const Documents&);
void modelopt_undeclare(Documents&, io::Metadata&);
/// hf_quant_config.json and, where there is a config.json, its quantization_config.
void modelopt_declare(const Description&, Documents&, io::Metadata&);

}  // namespace nvfp4
