module detections

go 1.26.0

require (
	go.uber.org/goleak v1.3.0
	golang.org/x/sys v0.49.0
	pgregory.net/rapid v1.3.0
)

require (
	github.com/asticode/go-astiav v0.38.0 // indirect
	github.com/asticode/go-astikit v0.42.0 // indirect
	github.com/coder/websocket v1.8.15 // indirect
	github.com/yalue/onnxruntime_go v1.27.0 // indirect
)
