#!/bin/sh
# Count the images of the dataset.
find "${1:-.}" -name '*.nii*' | wc -l
