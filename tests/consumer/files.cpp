#include <cstdio>
#include <nvfp4/io.hpp>

int main() {
  try {
    nvfp4::io::open_arrays("absent.npz");
  } catch (const nvfp4::io::FileError& error) {
    return std::puts(error.what()) < 0;
  }
  return 1;
}
