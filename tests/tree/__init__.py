"""Tests of the code as a text: layers, exports, sizes, words, documents."""
