"""Where else a run goes as it goes on: TensorBoard, MLflow. One file a tracker."""
