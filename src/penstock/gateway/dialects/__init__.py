"""The languages clients speak: what a request asks for, and how answers and errors look."""
