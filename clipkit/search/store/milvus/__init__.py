"""The store in a Milvus cluster, or in a file of Milvus Lite."""
