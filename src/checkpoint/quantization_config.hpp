#pragma once
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "checkpoint.hpp"

namespace nvfp4 {

/// "quantization_config" of config.json, else the document of that name, which is also ComfyUI's metadata entry. An
/// empty object where there is none.
nlohmann::ordered_json quantization_config(const Documents&);

/// Its "quant_method"; empty where there is none.
std::string quant_method(const Documents&);

/// Puts it into config.json where there is one, else it is a document of its own. `indent` is that of the loader's own
/// program. Throws std::invalid_argument for a config.json that is no object.
void set_quantization_config(Documents&, nlohmann::ordered_json, int indent);

/// From both places, where it is of that method.
void remove_quantization_config(Documents&, std::string_view method);

}  // namespace nvfp4
