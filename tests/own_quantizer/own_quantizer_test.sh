#!/bin/bash
# The program lists the quantizer and none of those that it does not link, and runs a config with it.

pipeline=$1
list=$("$pipeline" --list) || exit 1
[[ $list == *"  power_of_two    options: google.protobuf.Empty"* && $list != *min_max* ]] || { echo "$list"; exit 1; }

cat > "$TEST_TMPDIR/own.textproto" <<'EOF'
model { resnet_cifar {} weights: "weights/resnet20_cifar10.safetensors" }
steps { fold { check_images: 0 } }
steps { calibrate { num_images: 64 } }
steps {
  quantize {
    rules {
      weights { quantizer { name: "power_of_two" bits: 8 } }
      activations { quantizer { name: "power_of_two" bits: 8 } }
    }
  }
}
steps { evaluate { max_images: 200 } }
EOF
table=$("$pipeline" --config="$TEST_TMPDIR/own.textproto" --output_dir="$TEST_TMPDIR/out") || exit 1
echo "$table"
# At eight bits the network still works.
awk '$1 == "quantized" && $2 > 0.8 { found = 1 } END { exit !found }' <<< "$table"
