// A CUDA device that computes nothing, for torch builds without CUDA: autograd's engine asks the
// device of a fake tensor for streams, events and threads; torch's own guard for tests has them.
// Pinned memory is ordinary memory whose addresses are remembered.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/FakeGuardImpl.h>

#include <cstdlib>
#include <map>
#include <mutex>

namespace {

std::mutex mutex;
std::map<const char*, size_t> pinned;  // by address, with sizes

void release(void* memory) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    pinned.erase(static_cast<const char*>(memory));
  }
  std::free(memory);
}

struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* memory = std::malloc(size ? size : 1);
    std::lock_guard<std::mutex> lock(mutex);
    pinned[static_cast<const char*>(memory)] = size;
    return {memory, memory, &release, c10::DeviceType::CPU};
  }
  void copy_data(void* to, const void* from, size_t size) const override {
    default_copy_data(to, from, size);
  }
};

PinnedAllocator allocator;

}  // namespace

namespace at {
struct CUDAHooks final : CUDAHooksInterface {  // the name that torch looks for
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return false; }
  Allocator* getPinnedMemoryAllocator() const override { return &allocator; }
  bool isPinnedPtr(const void* data) const override {
    std::lock_guard<std::mutex> lock(mutex);
    const auto* address = static_cast<const char*>(data);
    auto after = pinned.upper_bound(address);
    if (after == pinned.begin()) return false;
    const auto& [begin, size] = *std::prev(after);
    return address < begin + size;
  }
};
REGISTER_CUDA_HOOKS(CUDAHooks);
}  // namespace at

C10_REGISTER_GUARD_IMPL(CUDA, c10::impl::FakeGuardImpl<c10::DeviceType::CUDA>)
