using System.Runtime.InteropServices;
using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using ServiceType = EphemeralFs.CsiDriver.Csi.PluginCapability.Types.Service.Types.Type;

namespace EphemeralFs.CsiDriver.Service;

/// <summary>csi.v1.Identity: the service that every plugin has (CSI specification, "Identity Service RPC").</summary>
/// <param name="isReady">Asked at each probe: whether everything that the driver needs answers.</param>
public sealed class IdentityService(Func<bool> isReady)
{
    /// <summary>Name of the driver in Kubernetes: the <c>CSIDriver</c> object, storage classes and the names of sockets have it.</summary>
    public const string DriverName = "csi.ephemeralfs.io";

    /// <summary>Version of the specification whose messages are spoken.</summary>
    public const string CsiVersion = "1.12.0";

    /// <summary>Of the driver, as <c>vendor_version</c>.</summary>
    public static string Version { get; } = typeof(IdentityService).Assembly.GetName().Version?.ToString(3)
        ?? throw new InvalidOperationException("the assembly of the driver has no version");

    /// <summary>The table of methods.</summary>
    public GrpcService Describe() => new(
        "csi.v1.Identity",
        GrpcMethod.Unary("GetPluginInfo", GetPluginInfoRequest.Parser, (_, _) => Task.FromResult(GetPluginInfo())),
        GrpcMethod.Unary("GetPluginCapabilities", GetPluginCapabilitiesRequest.Parser, (_, _) => Task.FromResult(GetPluginCapabilities())),
        GrpcMethod.Unary("Probe", ProbeRequest.Parser, (_, _) => Task.FromResult(Probe())));

    private static GetPluginInfoResponse GetPluginInfo() => new()
    {
        Name = DriverName,
        VendorVersion = Version,
        Manifest =
        {
            ["csi"] = CsiVersion,
            ["os"] = "linux",
            ["architecture"] = RuntimeInformation.ProcessArchitecture.ToString(),
            ["runtime"] = RuntimeInformation.FrameworkDescription,
        },
    };

    /// <summary>Of the driver as a whole: a plugin that serves only its node has a controller elsewhere.</summary>
    private static GetPluginCapabilitiesResponse GetPluginCapabilities() => new()
    {
        Capabilities =
        {
            Service(ServiceType.ControllerService),
            Service(ServiceType.VolumeAccessibilityConstraints),
            Service(ServiceType.GroupControllerService),
            new PluginCapability { VolumeExpansion = new() { Type = PluginCapability.Types.VolumeExpansion.Types.Type.Online } },
        },
    };

    private static PluginCapability Service(ServiceType type) => new() { Service = new() { Type = type } };

    /// <summary>
    /// Not FAILED_PRECONDITION while something else is away: that is said of a plugin that has to be started anew, and sidecars that hear it at their start exit
    /// and are held back, longer each time, while they wait for one that is not ready. What is missing stands in the log and in <c>/healthz</c>.
    /// </summary>
    private ProbeResponse Probe() => new() { Ready = isReady() };
}
