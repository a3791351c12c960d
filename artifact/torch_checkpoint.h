#ifndef LOWBIT_ARTIFACT_TORCH_CHECKPOINT_H_
#define LOWBIT_ARTIFACT_TORCH_CHECKPOINT_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "artifact/tensor_blob.h"

namespace lowbit {

// What torch.save() writes, in its two forms. Since PyTorch 1.6, a zip file of stored entries:
//
//   <folder>/data.pkl    a pickle; a tensor's numbers are in an entry of their own
//   <folder>/byteorder   "little"; since PyTorch 2.1
//   <folder>/data/<key>  one storage: elements, little-endian
//   <folder>/version     "3\n"
//
// Before (and still with _use_new_zipfile_serialization=False), pickles one after the other:
//
//   a magic number, the protocol version 1001, the machine's byte order, the object, the list of its storages' keys
//   then, in the order of that list, 8 bytes n and the n elements of that storage
//
// A pickle is a program, and Python runs it. Here nothing is run: what is no tensor, container or number is refused by
// name (pickle.h). So a checkpoint that holds a whole model, and not its state_dict(), cannot be read.

// Whether a file that begins with these bytes (16 will do) is a checkpoint of one of the two forms, or another zip
// file.
bool IsTorchCheckpoint(absl::string_view bytes);

// The tensors of a checkpoint: contiguous, each with its own bytes even where several share a storage.
//
// Which ones: the file's object must be a dictionary. While it has one of the keys "state_dict", "model_state_dict",
// "model" and "net" with a dictionary behind it, that dictionary is taken instead; two of these keys in one dictionary
// are an error. Then every tensor that lies directly in the dictionary counts, whatever its type, integers such as
// "num_batches_tracked" too; that there is none is an error. Everything else (epoch, optimizer, hyperparameters, text)
// is passed over.
//
// Their names: the keys. If all of them begin with "module.", which DataParallel adds, that is removed, and again while
// all of them do.
//
// A file that is damaged or that wants anything else is an InvalidArgument that begins with the file's name and says
// where: the zip entry, the byte of the pickle, the tensor. Memory is proportional to the file's size: tensors that
// repeat their storage (by sharing, or by a stride of 0) may take 16 times that of the file together, or 64 MiB.
absl::StatusOr<std::map<std::string, TensorBlob>> LoadTorchCheckpoint(const std::string& path);

// The same from memory; messages call it `name`.
absl::StatusOr<std::map<std::string, TensorBlob>> ParseTorchCheckpoint(absl::string_view bytes, absl::string_view name);

// The bytes of a zip checkpoint that holds these tensors as an OrderedDict, as torch.save(model.state_dict(), path)
// writes it and torch.load(path, weights_only=True) reads it. The same tensors give the same bytes. InvalidArgument for
// what such a file cannot hold: bytes that do not agree with shape and type, a name that is not UTF-8, element types
// that PyTorch 1.6 did not have (U16, U32, U64 and those below 16 bits other than I8, U8 and BOOL), more than 4 GiB.
absl::StatusOr<std::string> SerializeTorchCheckpoint(const std::map<std::string, TensorBlob>& tensors);

// Writes those bytes atomically (base/file.h).
absl::Status SaveTorchCheckpoint(const std::string& path, const std::map<std::string, TensorBlob>& tensors);

}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_TORCH_CHECKPOINT_H_
