"""What makes one CPU fast: the network in C++ behind one C header, and its Python face.

It knows pointers and sizes and nothing of ours: no files, no families, no tokens as text. Read in this order:
`haina.h` (the contract), `reference.py` (the kernels in NumPy: the definition), `forward.cpp` (the network),
`matmul.h` (where the time goes), `attention.cpp`, `rows.cpp`, `pool.h`, and `binding.py` (the Python face).
"""
