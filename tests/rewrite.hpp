#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <nvfp4/io.hpp>

namespace scratch {

using Change = std::function<void(std::span<std::uint8_t>)>;

/// The .npz file `from` again, with the bytes of array `name` changed.
inline void rewrite(const std::string& from, const std::string& to, const std::string& name,
                    const Change& change) {
  const auto file = nvfp4::io::open_arrays(from);
  if (!file->contains(name)) throw std::runtime_error(from + " has no array " + name);
  std::vector<nvfp4::io::Array> arrays;
  std::vector<std::vector<std::byte>> bytes;
  for (const std::string& each : file->names()) {
    arrays.push_back(file->read(each));
    const auto view = arrays.back().bytes.view();
    bytes.emplace_back(view.begin(), view.end());
    if (each == name) change({reinterpret_cast<std::uint8_t*>(bytes.back().data()), bytes.back().size()});
  }
  std::vector<nvfp4::io::ArrayView> views;
  for (std::size_t i = 0; i < arrays.size(); ++i) views.push_back({arrays[i].info, bytes[i]});
  nvfp4::io::write_npz(to, views, nvfp4::io::Overwrite::yes);
}

}  // namespace scratch
