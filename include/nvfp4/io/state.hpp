#pragma once
#include <string>
#include <string_view>

#include <nvfp4/linear.hpp>

namespace nvfp4::io {

/// {"fprop": {"hot_channels": [3, 17]}, "dgrad": {}, "wgrad": {}}, a line a product: what parse_state() reads back.
std::string to_json(const LayerState&);

/// A product that is absent keeps nothing. Throws FileError naming `file` and the field, also for unknown ones. Whether a
/// state is one of a recipe and a layer, linear() says.
LayerState parse_state(std::string_view json, const std::string& file);

}  // namespace nvfp4::io
